package wire

import (
	"slices"
	"strings"
)

// Code is the code of an error message, and the reason of the close that may
// follow it.
type Code string

// Codes of the error message.
const (
	CodeBadSessionPubkey       Code = "bad_session_pubkey"
	CodeBadParentPubkey        Code = "bad_parent_pubkey"
	CodeAttestationMismatch    Code = "attestation_mismatch"
	CodeCapacity               Code = "capacity"
	CodeTimestampSkew          Code = "timestamp_skew"
	CodeMalformed              Code = "malformed"
	CodeBadSignature           Code = "bad_signature"
	CodeExpired                Code = "expired"
	CodeTTLTooLong             Code = "ttl_too_long"
	CodeRevoked                Code = "revoked"
	CodeUnauthorized           Code = "unauthorized"
	CodeMemberIDMismatch       Code = "member_id_mismatch"
	CodeParentMemberIDMismatch Code = "parent_member_id_mismatch"
	CodeReplayed               Code = "replayed"
	CodeKeyTaken               Code = "key_taken"
	CodeHelloTimeout           Code = "hello_timeout"
	CodeNoHello                Code = "no_hello"
	CodeAlreadyHelloed         Code = "already_helloed"
	CodeUnknownType            Code = "unknown_message_type"
	CodeInvalid                Code = "invalid"
	CodeInvalidArgument        Code = "invalid_argument"
	CodeNotFound               Code = "not_found"
	CodeAmbiguousPrefix        Code = "ambiguous_prefix"
	CodeForbidden              Code = "forbidden"
	CodeRateLimit              Code = "rate_limit"
	CodeTryAgain               Code = "try_again"
	CodeInternal               Code = "internal"
)

// Close codes and the reasons that have no error code.
const (
	CloseNormal    = 1000
	ClosePolicy    = 1008 // the reason is a Code
	CloseTooBig    = 1009
	CloseInternal  = 1011
	CloseRestart   = 1012
	CloseTryLater  = 1013
	CloseKicked    = 4001
	CloseBanned    = 4002
	ReasonReplaced = "session_replaced"
	ReasonShutdown = "shutting down"
	ReasonBanned   = "banned"
)

// Errors in an ack are texts that begin with one of these words. A v1 client
// gives up at once on some of them and retries the rest, so they are protocol.
const (
	AckPayloadTooLarge = "payload_too_large" // final
	AckTargetNotFound  = "target_not_found"  // final
	AckForbidden       = "forbidden"         // final
	AckInvalid         = "invalid"           // final
	AckRateLimit       = "rate_limit"        // retried
	AckQueueFull       = "queue_full"        // retried
	AckTryAgain        = "try_again"         // retried
)

// finalWords are the words on which the sessions of protocol v1 give a message up.
// They send everything else again, 25 times. A text for them has one of these words
// exactly if sending again can't help.
var finalWords = []string{"unknown", "invalid", "forbidden", "not_authorized", AckTargetNotFound}

// AckFinal reports whether sending a message again can't help after a refusal that
// begins with the word.
func AckFinal(word string) bool {
	return word != AckRateLimit && word != AckQueueFull && word != AckTryAgain
}

// AckError makes the error of an ack, from one of the Ack… words and what is wrong.
// A final one has a word that every client of protocol v1 takes as final.
func AckError(word, what string) string {
	text := word + ": " + what
	if AckFinal(word) && !slices.ContainsFunc(finalWords, func(w string) bool { return strings.Contains(text, w) }) {
		text += " (invalid, however often it is sent)"
	}
	return text
}

// Final reports whether doing the same again can't help after an error with this
// code, until somebody acts.
func (c Code) Final() bool {
	switch c {
	case CodeCapacity, CodeTimestampSkew, CodeReplayed, CodeHelloTimeout, CodeNoHello, CodeTryAgain, CodeRateLimit, CodeInternal, CodeExpired:
		return false
	}
	return true
}
