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

// Codes are the codes of the error message.
var Codes = []Code{
	CodeBadSessionPubkey, CodeBadParentPubkey, CodeAttestationMismatch, CodeCapacity, CodeTimestampSkew, CodeMalformed, CodeBadSignature,
	CodeExpired, CodeTTLTooLong, CodeRevoked, CodeUnauthorized, CodeMemberIDMismatch, CodeParentMemberIDMismatch, CodeReplayed, CodeKeyTaken,
	CodeHelloTimeout, CodeNoHello, CodeAlreadyHelloed, CodeUnknownType, CodeInvalid, CodeInvalidArgument, CodeNotFound, CodeAmbiguousPrefix,
	CodeForbidden, CodeRateLimit, CodeTryAgain, CodeInternal,
}

// Close codes, and the close reasons that aren't error codes.
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
	ReasonMoved    = "moved"
	ReasonBanned   = "banned"
)

// The error of an ack begins with one of these words. They are part of the protocol:
// a v1 client gives up at once on the final ones and retries on the others.
const (
	AckPayloadTooLarge = "payload_too_large" // final
	AckTargetNotFound  = "target_not_found"  // final
	AckForbidden       = "forbidden"         // final
	AckInvalid         = "invalid"           // final
	AckRateLimit       = "rate_limit"        // retried
	AckQueueFull       = "queue_full"        // retried
	AckTryAgain        = "try_again"         // retried
)

// AckWords are these words.
var AckWords = []string{AckPayloadTooLarge, AckTargetNotFound, AckForbidden, AckInvalid, AckRateLimit, AckQueueFull, AckTryAgain}

// finalWords are the words on which a v1 session gives up a message. On any other
// error it sends the message again, up to 25 times. So the error of an ack contains
// one of these words if, and only if, sending again can't help.
var finalWords = []string{"unknown", "invalid", "forbidden", "not_authorized", AckTargetNotFound}

// AckFinal reports whether a refusal that begins with word is final: sending the
// message again can't help.
func AckFinal(word string) bool {
	return word != AckRateLimit && word != AckQueueFull && word != AckTryAgain
}

// AckError returns the error of an ack: one of the Ack… words, then what is wrong. It
// makes sure that every v1 client recognizes a final error as final.
func AckError(word, what string) string {
	text := word + ": " + what
	if AckFinal(word) && !slices.ContainsFunc(finalWords, func(w string) bool { return strings.Contains(text, w) }) {
		text += " (invalid: don't send it again)"
	}
	return text
}

// Final reports whether an error with this code is final: the same request fails
// again until somebody acts.
func (c Code) Final() bool {
	switch c {
	case CodeCapacity, CodeTimestampSkew, CodeReplayed, CodeHelloTimeout, CodeNoHello, CodeTryAgain, CodeRateLimit, CodeInternal, CodeExpired:
		return false
	}
	return true
}
