package wire

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
