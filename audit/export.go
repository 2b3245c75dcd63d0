package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// An export is JSON lines: the entries of any number of logs, each log in its order, and
// checkpoints. docs/client.md documents the fields.

// The types of lines.
const (
	entryLine      = "entry"
	checkpointLine = "checkpoint"
)

// exportTime is RFC 3339 to the millisecond, which is all that an entry's time has.
const exportTime = "2006-01-02T15:04:05.000Z07:00"

// maxLine is the size in bytes that a line of an export may have.
const maxLine = 1 << 20

// ErrBadExport is returned for a line that can't be one of an export.
var ErrBadExport = errors.New("not a line of an audit export")

// line is a line of an export.
type line struct {
	Type string  `json:"type"`
	Mesh wire.ID `json:"mesh"`

	Seq    int64           `json:"seq,omitempty"`
	Time   string          `json:"time,omitempty"`
	Kind   string          `json:"kind,omitempty"`
	Actor  string          `json:"actor,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
	Prev   string          `json:"prev,omitempty"`
	Hash   string          `json:"hash,omitempty"`

	Verifier string `json:"verifier,omitempty"`
	Note     string `json:"note,omitempty"`
}

// Exporter writes an export.
type Exporter struct{ encoder *json.Encoder }

// NewExporter returns an exporter that writes to w.
func NewExporter(w io.Writer) *Exporter {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // a detail must keep its bytes
	return &Exporter{e}
}

// Entry writes an entry.
func (x *Exporter) Entry(e Entry) error {
	r := Row(e)
	return x.encoder.Encode(line{
		Type: entryLine, Mesh: e.MeshID, Seq: r.Seq, Time: e.At.UTC().Format(exportTime), Kind: r.Kind, Actor: r.Actor,
		Detail: r.Detail, Prev: r.Prev, Hash: r.Hash,
	})
}

// Checkpoint writes a checkpoint, with the key that verifies it.
func (x *Exporter) Checkpoint(meshID wire.ID, verifier, signed string) error {
	return x.encoder.Encode(line{Type: checkpointLine, Mesh: meshID, Verifier: verifier, Note: signed})
}

// entry returns the entry of an entry line.
func (l *line) entry() (Entry, error) {
	at, err := time.Parse(exportTime, l.Time)
	if err != nil {
		return Entry{}, fmt.Errorf("%w: time %q", ErrBadExport, l.Time)
	}
	e, err := FromRow(l.Mesh, wire.AuditRow{
		Seq: l.Seq, At: at.UnixMilli(), Kind: l.Kind, Actor: l.Actor, Detail: l.Detail, Prev: l.Prev, Hash: l.Hash,
	})
	if err != nil {
		return Entry{}, fmt.Errorf("%w: %w", ErrBadExport, err)
	}
	return e, nil
}

// ExportReport says what an export proves about one log.
type ExportReport struct {
	MeshID wire.ID
	First  int64 // number of the first entry; 0 if there is none
	Head   Head  // the last good entry
	// Trusted reports whether the client had kept the key that signs the log's checkpoints.
	// Without it, the export proves only that it does not contradict itself.
	Trusted bool
	// Signed is the size of the largest trusted checkpoint that the entries agree with; 0 if
	// there is none. What follows it may still be changed unseen.
	Signed int64
	// KeptSize is the size of the checkpoint that the client has kept; 0 if there is none. If
	// it lies outside of the entries, they could not be compared with it.
	KeptSize int64
	// Bad is what is wrong, nil if nothing is: a *BadEntry, a *ContradictionError, or wraps
	// ErrBadNote. What follows it was not verified.
	Bad error
}

// ContradictionError says that an entry is not the one of a signed checkpoint.
type ContradictionError struct {
	Seq  int64
	Hash Hash   // that the entry has
	Note string // the checkpoint
}

// Error names the entry.
func (e *ContradictionError) Error() string {
	return fmt.Sprintf("entry %d has the hash %s, which is not the one that the broker has signed", e.Seq, e.Hash)
}

// VerifyExport verifies an export against the checkpoints that a client has kept, and against
// those in the export. It returns a report for each log, in the order in which they come. The
// error is ErrBadExport with the number of the line, or one of the reader or of kept.
func VerifyExport(r io.Reader, kept func(wire.ID) (Kept, error)) ([]*ExportReport, error) {
	logs := make(map[wire.ID]*exportedLog)
	var order []*exportedLog
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w: %w", n, ErrBadExport, err)
		}
		log := logs[l.Mesh]
		if log == nil {
			k, err := kept(l.Mesh)
			if err == nil {
				log, err = newExportedLog(l.Mesh, k)
			}
			if err != nil {
				return nil, err
			}
			logs[l.Mesh], order = log, append(order, log)
		}
		if log.Bad != nil {
			continue
		}
		if err := log.take(&l); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the export: %w", err)
	}
	reports := make([]*ExportReport, 0, len(order))
	for _, log := range order {
		log.end()
		reports = append(reports, &log.ExportReport)
	}
	return reports, nil
}

// exportedLog is one log of an export while it is verified.
type exportedLog struct {
	ExportReport
	verifier string                // trusted, if the client has kept it; else that of the first checkpoint
	ahead    map[int64]expectation // checkpoints of entries that have not come yet
	base     Head                  // a checkpoint before the first entry
}

type expectation struct {
	hash Hash
	note string
	kept bool // by the client
}

func newExportedLog(meshID wire.ID, kept Kept) (*exportedLog, error) {
	l := &exportedLog{
		ExportReport: ExportReport{MeshID: meshID, Trusted: kept.Verifier != ""},
		verifier:     kept.Verifier, ahead: make(map[int64]expectation),
	}
	head, err := kept.Head(meshID)
	if err != nil {
		return nil, fmt.Errorf("the kept checkpoint of mesh %s: %w", meshID, err)
	}
	if l.KeptSize = head.Seq; head.Seq > 0 {
		l.ahead[head.Seq] = expectation{head.Hash, kept.Checkpoint, true}
	}
	return l, nil
}

func (l *exportedLog) take(in *line) error {
	switch in.Type {
	case entryLine:
		e, err := in.entry()
		if err == nil {
			l.entry(e)
		}
		return err
	case checkpointLine:
		l.checkpoint(in)
		return nil
	}
	return fmt.Errorf("%w: type %q", ErrBadExport, in.Type)
}

func (l *exportedLog) entry(e Entry) {
	if l.First == 0 {
		switch l.First = e.Seq; {
		case e.Seq == 1:
		case e.Seq == l.base.Seq+1:
			l.Head = l.base
		default: // a part of the log, which proves nothing about what was before
			l.Head = Head{e.Seq - 1, e.Prev}
		}
	}
	if l.Head, l.Bad = Verify(l.MeshID, l.Head, []Entry{e}); l.Bad != nil {
		return
	}
	if want, ok := l.ahead[e.Seq]; ok {
		delete(l.ahead, e.Seq)
		l.agree(want)
	}
}

// agree compares the newest entry with a checkpoint of its number.
func (l *exportedLog) agree(want expectation) {
	if want.hash != l.Head.Hash {
		l.Bad = &ContradictionError{l.Head.Seq, l.Head.Hash, want.note}
	} else if l.Trusted {
		l.Signed = l.Head.Seq
	}
}

func (l *exportedLog) checkpoint(in *line) {
	if l.verifier == "" {
		l.verifier = in.Verifier
	}
	head, err := OpenCheckpoint(l.verifier, l.MeshID, in.Note)
	switch {
	case err != nil:
		l.Bad = err
	case l.First == 0 && head.Seq >= l.base.Seq:
		l.base = head // perhaps where the entries begin
		l.expect(head, in.Note)
	case head.Seq == l.Head.Seq:
		l.agree(expectation{hash: head.Hash, note: in.Note})
	default:
		l.expect(head, in.Note)
	}
}

// maxAhead bounds the checkpoints that wait for their entries.
const maxAhead = 4096

func (l *exportedLog) expect(head Head, signed string) {
	if want, ok := l.ahead[head.Seq]; ok && want.hash != head.Hash {
		l.Bad = &ContradictionError{head.Seq, head.Hash, want.note}
	} else if !ok && head.Seq > l.Head.Seq && len(l.ahead) < maxAhead {
		l.ahead[head.Seq] = expectation{hash: head.Hash, note: signed}
	}
}

// end finds entries that a checkpoint of the export promises, and that did not come.
func (l *exportedLog) end() {
	for seq, want := range l.ahead {
		if l.Bad == nil && !want.kept && seq > l.Head.Seq && l.First > 0 {
			l.Bad = &BadEntry{l.MeshID, l.Head.Seq + 1, TailMissing}
		}
	}
}
