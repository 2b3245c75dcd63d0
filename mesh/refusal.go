package mesh

import (
	"errors"
	"fmt"

	"github.com/claudemesh/claudemesh/wire"
)

// Codes of refusals that only HTTP routes send. Those of POST /join are protocol
// v1's; see SPEC.md, section 11.
const (
	CodeExhausted wire.Code = "exhausted"
	CodeBadName   wire.Code = "bad_name"   // the new name looks like a key, a group or nothing
	CodeNameTaken wire.Code = "name_taken" // the new name equals another member's name, or looks like it
	CodeV1Claim   wire.Code = "v1_claim"   // a v1 claim, which links don't support

	codeInviteBadSignature  wire.Code = "invite_bad_signature"
	codeMeshNotFound        wire.Code = "mesh_not_found"
	codeInviteOwnerMismatch wire.Code = "invite_owner_mismatch"
	codeInviteNotFound      wire.Code = "invite_not_found"
	codeInviteMeshMismatch  wire.Code = "invite_mesh_mismatch"
	codeInviteRevoked       wire.Code = "invite_revoked"
	codeInviteExpired       wire.Code = "invite_expired"
	codeInviteExhausted     wire.Code = "invite_exhausted"
)

// Refusal is the error for a request that the rules forbid.
type Refusal struct {
	Code    wire.Code
	Message string // for the client; holds no secret

	cause error // nil, or one of this package's sentinels
}

// Error returns the code and the message.
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Message }

// Unwrap returns the sentinel error behind the refusal, such as ErrRemoved, or nil.
func (r *Refusal) Unwrap() error { return r.cause }

// JoinError returns the error text for the answer of POST /join: the code if it is one
// of protocol v1's codes for a bad invite, else the message.
func (r *Refusal) JoinError() string {
	switch r.Code {
	case codeInviteBadSignature, codeMeshNotFound, codeInviteOwnerMismatch, codeInviteNotFound,
		codeInviteMeshMismatch, codeInviteRevoked, codeInviteExpired, codeInviteExhausted:
		return string(r.Code)
	}
	return r.Message
}

func refuse(code wire.Code, format string, args ...any) error {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}

// refuseFor returns a refusal that wraps a sentinel error.
func refuseFor(code wire.Code, cause error) error {
	return &Refusal{Code: code, Message: cause.Error(), cause: cause}
}

// joinCodes and claimCodes map the sentinel errors to the codes of POST /join and of a
// claim.
var (
	joinCodes = map[error]wire.Code{
		ErrMeshNotFound:    codeMeshNotFound,
		ErrInviteNotFound:  codeInviteNotFound,
		ErrInviteRevoked:   codeInviteRevoked,
		ErrInviteExpired:   codeInviteExpired,
		ErrInviteExhausted: codeInviteExhausted,
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

// translate turns a sentinel error into a refusal with its code in codes. It returns
// every other error unchanged.
func translate(err error, codes map[error]wire.Code) error {
	if cause := ruleOf(err); cause != nil {
		if code, ok := codes[cause]; ok {
			return refuseFor(code, cause)
		}
	}
	return err
}

// ruleOf returns the sentinel that err wraps, or nil if err comes from the storage.
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
