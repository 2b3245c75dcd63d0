package bench

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/claudemesh/claudemesh/wire"
)

// maxTroubles is the maximum number of different texts to keep.
const maxTroubles = 20

// troubles counts the problems of a run, by their texts. It is safe for concurrent use. The
// zero value is empty.
type troubles struct {
	mu       sync.Mutex
	refusals map[string]*trouble // by the first word of the refusal
	notes    map[string]int
}

type trouble struct {
	count int
	first string // the broker's text for the first of them
}

// refusal records that the broker has refused a message.
func (t *troubles) refusal(text string) {
	word, _, _ := strings.Cut(text, ":")
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refusals == nil {
		t.refusals = make(map[string]*trouble)
	}
	if r := t.refusals[word]; r != nil {
		r.count++
	} else if len(t.refusals) < maxTroubles {
		t.refusals[word] = &trouble{1, text}
	}
}

// note records any other problem.
func (t *troubles) note(what, why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.notes == nil {
		t.notes = make(map[string]int)
	}
	if _, known := t.notes[what+why]; known || len(t.notes) < maxTroubles {
		t.notes[what+why]++
	}
}

// explained describes the problems in sentences, in a fixed order.
func (t *troubles) explained() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []string
	for _, word := range slices.Sorted(maps.Keys(t.refusals)) {
		r := t.refusals[word]
		text := fmt.Sprintf("the broker refused %d messages (%s)", r.count, r.first)
		switch word {
		case wire.AckRateLimit:
			text += ": the figures show the broker's limits for one member; raise its send_rate_per_min, send_burst, work_per_min and work_burst " +
				"(SEND_RATE_PER_MIN, SEND_BURST, WORK_PER_MIN, WORK_BURST)"
		case wire.AckPayloadTooLarge:
			text += ": use a smaller size, or raise the broker's max_message_bytes (MAX_MESSAGE_BYTES)"
		}
		list = append(list, text)
	}
	for _, text := range slices.Sorted(maps.Keys(t.notes)) {
		if n := t.notes[text]; n > 1 {
			text += fmt.Sprintf(" (%d times)", n)
		}
		list = append(list, text)
	}
	return list
}
