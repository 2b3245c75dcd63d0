package mesh

import (
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/wire"
)

// Codes of refusals that package wire does not have. The ones of POST /join are
// those of protocol v1, section 6.
const (
	CodeExhausted wire.Code = "exhausted"
	CodeBadName   wire.Code = "bad_name"   // a new name that may be taken for a key, a group or nothing
	CodeNameTaken wire.Code = "name_taken" // a new name that is another member's, or looks like it
	CodeV1Claim   wire.Code = "v1_claim"   // a claim of protocol v1, which no link can serve

	CodeInviteBadSignature  wire.Code = "invite_bad_signature"
	CodeMeshNotFound        wire.Code = "mesh_not_found"
	CodeInviteOwnerMismatch wire.Code = "invite_owner_mismatch"
	CodeInviteNotFound      wire.Code = "invite_not_found"
	CodeInviteMeshMismatch  wire.Code = "invite_mesh_mismatch"
	CodeInviteRevoked       wire.Code = "invite_revoked"
	CodeInviteExpired       wire.Code = "invite_expired"
	CodeInviteExhausted     wire.Code = "invite_exhausted"
)

// Refusal is the error of a request that the rules do not allow.
type Refusal struct {
	Code    wire.Code
	Message string // for the one who asked; holds no secret

	cause error // nil, or one of this package's sentinels
}

// Error returns the code and the message.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

// Unwrap returns the sentinel that the refusal stands for, such as ErrRemoved,
// or nil.
func (r *Refusal) Unwrap() error { return r.cause }

// JoinError is how POST /join tells the refusal: by its code when it is one of
// the codes that protocol v1 has for a bad invite, else in words.
func (r *Refusal) JoinError() string {
	switch r.Code {
	case CodeInviteBadSignature, CodeMeshNotFound, CodeInviteOwnerMismatch, CodeInviteNotFound,
		CodeInviteMeshMismatch, CodeInviteRevoked, CodeInviteExpired, CodeInviteExhausted:
		return string(r.Code)
	}
	return r.Message
}

func refuse(code wire.Code, format string, args ...any) error {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}

// refuseFor refuses because of a sentinel.
func refuseFor(code wire.Code, cause error) error {
	return &Refusal{Code: code, Message: cause.Error(), cause: cause}
}

// joinCodes and claimCodes are the two vocabularies for what is wrong with an
// invite.
var (
	joinCodes = map[error]wire.Code{
		ErrMeshNotFound:    CodeMeshNotFound,
		ErrInviteNotFound:  CodeInviteNotFound,
		ErrInviteRevoked:   CodeInviteRevoked,
		ErrInviteExpired:   CodeInviteExpired,
		ErrInviteExhausted: CodeInviteExhausted,
		ErrFull:            wire.CodeCapacity,
		ErrRemoved:         wire.CodeForbidden,
	}
	claimCodes = map[error]wire.Code{
		ErrMeshNotFound:    wire.CodeNotFound,
		ErrInviteNotFound:  wire.CodeNotFound,
		ErrInviteRevoked:   wire.CodeRevoked,
		ErrInviteExpired:   wire.CodeExpired,
		ErrInviteExhausted: CodeExhausted,
		ErrFull:            wire.CodeCapacity,
		ErrRemoved:         wire.CodeForbidden,
	}
)

// translate turns a sentinel into a refusal with the code that codes has for
// it, and leaves every other error as it is.
func translate(err error, codes map[error]wire.Code) error {
	if cause := ruleOf(err); cause != nil {
		if code, ok := codes[cause]; ok {
			return refuseFor(code, cause)
		}
	}
	return err
}

// ruleOf returns the sentinel that err wraps, or nil when err is of the storage.
func ruleOf(err error) error {
	for _, rule := range []error{
		ErrMeshNotFound, ErrMemberNotFound, ErrInviteNotFound, ErrInviteRevoked,
		ErrInviteExpired, ErrInviteExhausted, ErrFull, ErrRemoved, ErrExists,
	} {
		if errors.Is(err, rule) {
			return rule
		}
	}
	return nil
}
