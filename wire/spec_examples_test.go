package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/envelope"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/wire"
)

// parsers maps each message type to a function that reads its messages.
var parsers = map[string]func(*wire.Frame) (any, error){
	wire.TypeHello:         func(f *wire.Frame) (any, error) { h := wire.DecodeHello(f); return h, h.Malformed },
	wire.TypeSessionHello:  func(f *wire.Frame) (any, error) { h := wire.DecodeSessionHello(f); return h, h.Malformed },
	wire.TypeSend:          decoder(wire.DecodeSend),
	wire.TypeClientAck:     decoder(wire.DecodeClientAck),
	wire.TypeMessageStatus: decoder(wire.DecodeMessageStatus),
	wire.TypeListPeers:     decoder(wire.DecodeListPeers),
	wire.TypeSetStatus:     decoder(wire.DecodeSetStatus),
	wire.TypeSetSummary:    decoder(wire.DecodeSetSummary),
	wire.TypeSetStats:      decoder(wire.DecodeSetStats),
	wire.TypeSetVisible:    decoder(wire.DecodeSetVisible),
	wire.TypeSetProfile:    decoder(wire.DecodeSetProfile),
	wire.TypeJoinGroup:     decoder(wire.DecodeJoinGroup),
	wire.TypeLeaveGroup:    decoder(wire.DecodeLeaveGroup),
	wire.TypeListSkills:    bare,
	wire.TypeGetSkill:      bare,
	wire.TypeMeshInfo:      bare,
	wire.TypeGetState:      decoder(wire.DecodeGetState),
	wire.TypeListState:     bare,
	wire.TypeRecall:        bare,
	wire.TypeTopicList:     bare,
	wire.TypeListTasks:     bare,
	wire.TypeInviteCreate:  decoder(wire.DecodeInviteCreate),
	wire.TypeInviteList:    bare,
	wire.TypeInviteRevoke:  decoder(wire.DecodeInviteRevoke),
	wire.TypeMemberList:    bare,
	wire.TypeMemberSetRole: decoder(wire.DecodeMemberSetRole),
	wire.TypeMemberRemove:  decoder(wire.DecodeMemberRemove),
	wire.TypeGrantSet:      decoder(wire.DecodeGrantSet),
	wire.TypeAuditQuery:    decoder(wire.DecodeAuditQuery),
	wire.TypeKick:          decoder(wire.DecodeSendAway),
	wire.TypeDisconnect:    decoder(wire.DecodeSendAway),
	wire.TypeBan:           decoder(wire.DecodeBan),
	wire.TypeUnban:         decoder(wire.DecodeBan),
	wire.TypeListBans:      bare,

	wire.TypeHelloAck:            decoder(wire.DecodeHelloAck),
	wire.TypeError:               decoder(wire.DecodeError),
	wire.TypeAck:                 decoder(wire.DecodeAck),
	wire.TypePush:                push,
	wire.TypePeersList:           answer[wire.PeersList],
	wire.TypeMessageStatusResult: answer[wire.MessageStatusResult],
	wire.TypeCaughtUp:            answer[wire.CaughtUp],
	wire.TypeRosterChanged:       answer[wire.RosterChanged],
	wire.TypeInviteCreated:       answer[wire.InviteCreated],
	wire.TypeInvites:             answer[wire.Invites],
	wire.TypeMembers:             answer[wire.Members],
	wire.TypeAuditEntries:        answer[wire.AuditEntries],
	wire.TypeKickAck:             answer[wire.SentAway],
	wire.TypeDisconnectAck:       answer[wire.SentAway],
	wire.TypeBanAck:              answer[wire.BanAck],
	wire.TypeUnbanAck:            answer[wire.UnbanAck],
	wire.TypeListBansResult:      answer[wire.BanList],
	wire.TypeSkillList:           answer[wire.SkillList],
	wire.TypeSkillData:           answer[wire.SkillData],
	wire.TypeMeshInfoResult:      answer[wire.MeshInfoResult],
	wire.TypeStateResult:         answer[wire.StateResult],
	wire.TypeStateList:           answer[wire.StateList],
	wire.TypeStateValue:          answer[wire.StateValue],
	wire.TypeMemoryResults:       answer[wire.MemoryResults],
	wire.TypeMemoryRecallResult:  answer[wire.MemoryRecallResult],
	wire.TypeTopicListResponse:   answer[wire.TopicList],
	wire.TypeTaskList:            answer[wire.TaskList],
}

func decoder[T any](decode func(*wire.Frame) (T, error)) func(*wire.Frame) (any, error) {
	return func(f *wire.Frame) (any, error) { return decode(f) }
}

// bare reads a request without fields.
func bare(*wire.Frame) (any, error) { return nil, nil }

func push(f *wire.Frame) (any, error) {
	if f.Subtype() == wire.SubtypeSystem {
		return wire.DecodeSystemPush(f)
	}
	return wire.DecodePush(f)
}

// answer reads a message from the broker. It returns an error for a field that T lacks.
func answer[T any](f *wire.Frame) (any, error) {
	var v T
	if err := f.Unmarshal(&v); err != nil {
		return v, err
	}
	text, err := json.Marshal(v)
	if err != nil {
		return v, err
	}
	var read, shown any
	if err := errors.Join(json.Unmarshal(text, &read), f.Unmarshal(&shown)); err != nil {
		return v, err
	}
	return v, covers(read, shown)
}

// covers returns an error if shown has something that read lacks.
func covers(read, shown any) error {
	switch shown := shown.(type) {
	case map[string]any:
		fields, _ := read.(map[string]any)
		for name, value := range shown {
			got, ok := fields[name]
			if !ok {
				return fmt.Errorf("no such field: %s", name)
			}
			if err := covers(got, value); err != nil {
				return err
			}
		}
	case []any:
		rows, _ := read.([]any)
		for i, value := range shown {
			if i >= len(rows) {
				return errors.New("too many rows")
			}
			if err := covers(rows[i], value); err != nil {
				return err
			}
		}
	default:
		if !reflect.DeepEqual(read, shown) {
			return fmt.Errorf("%v is read as %v", shown, read)
		}
	}
	return nil
}

// TestSpecExamples parses each message that SPEC.md shows. The parser must read every field of an
// example, and every message type of this package must have an example.
func TestSpecExamples(t *testing.T) {
	t.Parallel()
	shown := make(map[string]bool)
	for _, example := range examples(t) {
		frame, err := wire.ParseFrame(example)
		if err != nil {
			t.Errorf("%v: %s", err, example)
			continue
		}
		shown[frame.Type] = true
		if _, ok := parsers[frame.Type]; !ok {
			t.Errorf("no parser for the type of %s", example)
			continue
		}
		whole, err := parse(example)
		if err != nil {
			t.Errorf("%v: %s", err, example)
			continue
		}
		var fields map[string]json.RawMessage
		if err := json.Unmarshal(example, &fields); err != nil {
			t.Fatal(err)
		}
		for name := range fields {
			if name == "type" || zero(fields[name]) {
				continue
			}
			if less, err := parse(without(t, fields, name)); err == nil && reflect.DeepEqual(less, whole) {
				t.Errorf("the parser ignores the field %s in %s", name, example)
			}
		}
	}
	for name, value := range protocolConstants(t) {
		if strings.HasPrefix(name, "Type") && !shown[value] {
			t.Errorf("SPEC.md has no example of %s", value)
		}
	}
}

// parsed is the result of a parser.
type parsed struct {
	Message any
	ReqID   string
	Subtype string
}

func parse(example []byte) (parsed, error) {
	frame, err := wire.ParseFrame(example)
	if err != nil {
		return parsed{}, err
	}
	message, err := parsers[frame.Type](&frame)
	return parsed{message, frame.ReqID, frame.Subtype()}, err
}

// zero reports whether a value means the same as a missing field.
func zero(value json.RawMessage) bool {
	switch string(value) {
	case "null", "false", "0", `""`, "[]":
		return true
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(value, &fields) != nil {
		return false
	}
	for _, field := range fields {
		if !zero(field) {
			return false
		}
	}
	return true
}

func without(t *testing.T, fields map[string]json.RawMessage, name string) []byte {
	t.Helper()
	rest := make(map[string]json.RawMessage)
	for other, value := range fields {
		if other != name {
			rest[other] = value
		}
	}
	text, err := json.Marshal(rest)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// examples returns the messages in SPEC.md's blocks of JSON, each compact.
func examples(t *testing.T) [][]byte {
	t.Helper()
	spec, err := os.ReadFile("../SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	var found [][]byte
	for _, block := range regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(spec, -1) {
		decoder := json.NewDecoder(bytes.NewReader(block[1]))
		for {
			var raw json.RawMessage
			if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%v in %s", err, block[1])
			}
			var compact bytes.Buffer
			if err := json.Compact(&compact, raw); err != nil {
				t.Fatal(err)
			}
			found = append(found, compact.Bytes())
		}
	}
	return found
}

// TestSpecExamplesAreGenuine verifies the signatures of the examples, and opens the
// direct message, with the keys that SPEC.md names.
func TestSpecExamplesAreGenuine(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1767323045678)
	verified := make(map[string]bool)
	for _, example := range examples(t) {
		frame, err := wire.ParseFrame(example)
		if err != nil {
			t.Fatal(err)
		}
		switch frame.Type {
		case wire.TypeHello:
			h := wire.DecodeHello(&frame)
			err = identity.VerifyHello(h.MeshID, h.MemberID, key(t, h.Pubkey), h.Timestamp, signature(t, h.Signature), at)
		case wire.TypeSessionHello:
			h := wire.DecodeSessionHello(&frame)
			member, session := key(t, h.ParentMemberPubkey), key(t, h.SessionPubkey)
			err = errors.Join(
				identity.VerifySessionHello(h.MeshID, member, session, h.Timestamp, signature(t, h.Signature), at),
				verifyAttestation(t, h.Attestation, at))
			for _, s := range h.Succeeds {
				if !identity.VerifySuccession(h.MeshID, key(t, s.SessionPubkey), session, signature(t, s.Signature)) {
					t.Errorf("the succession of %s is not signed", s.SessionPubkey)
				}
			}
		case wire.TypePush:
			if frame.Subtype() == wire.SubtypeSystem {
				continue
			}
			var p wire.Push
			if p, err = wire.DecodePush(&frame); err == nil && p.TargetSpec == "" {
				_, err = envelope.OpenDirect(identity.FromSeed([32]byte(bytes.Repeat([]byte{5}, 32))), p.SenderPubkey, p.Nonce, p.Ciphertext)
			}
		default:
			continue
		}
		if err != nil {
			t.Errorf("%v: %s", err, example)
		}
		verified[frame.Type] = true
	}
	if len(verified) != 3 {
		t.Errorf("verified only these: %v", verified)
	}
}

func verifyAttestation(t *testing.T, a wire.Attestation, at time.Time) error {
	t.Helper()
	return identity.Attestation{
		SessionPubkey: key(t, a.SessionPubkey), ParentMemberPubkey: key(t, a.ParentMemberPubkey),
		ExpiresAt: a.ExpiresAt, Signature: signature(t, a.Signature),
	}.Verify(at)
}

func key(t *testing.T, text string) wire.Key {
	t.Helper()
	k, err := wire.ParseKey(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return k
}

func signature(t *testing.T, text string) wire.Signature {
	t.Helper()
	sig, err := wire.ParseSignature(text)
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return sig
}
