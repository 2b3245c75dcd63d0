package attention

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

const slowestWrite = 2 * time.Second

// model drives a Desk at random and records what it has announced.
type model struct {
	t       *testing.T
	rng     *rand.Rand // decides what the driver does
	desk    *Desk
	dnd     bool
	nextID  int64
	unread  map[int64]Message
	polite  map[int64]bool // from members that write only once, within any budget
	healthy []*Subscription

	mu    sync.Mutex
	told  map[int64]bool
	again map[int64]bool // may be announced once more, to a new context
}

// TestRandomly checks with random events that the Desk announces no message twice and
// forgets none.
func TestRandomly(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				m := &model{
					t: t, rng: rand.New(rand.NewPCG(seed, 1)),
					unread: make(map[int64]Message), polite: make(map[int64]bool), told: make(map[int64]bool), again: make(map[int64]bool),
				}
				m.open()
				for range 400 {
					m.step()
				}
				m.finish()
			})
		})
	}
}

func (m *model) open() {
	m.desk = New(Options{DND: m.dnd, OnAnnounced: m.announced})
}

func (m *model) announced(ids []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(ids) == 0 || !slices.IsSorted(ids) {
		m.t.Errorf("announced %v", ids)
	}
	for _, id := range ids {
		if m.told[id] && !m.again[id] {
			m.t.Errorf("message %d announced twice", id)
		}
		m.told[id] = true
		delete(m.again, id)
	}
}

func (m *model) step() {
	switch n := m.rng.IntN(100); {
	case n < 40:
		m.arrive()
	case n < 50:
		m.check()
	case n < 54:
		m.dnd = !m.dnd
		m.desk.SetDND(m.dnd)
	case n < 57:
		m.desk.HumanPrompt()
	case n < 72:
		m.hook(Moment(1 + m.rng.IntN(2)))
	case n < 80:
		m.attach()
	case n < 84 && len(m.healthy) > 0:
		m.healthy[m.rng.IntN(len(m.healthy))].Detach()
	case n < 86:
		m.restart()
	case n < 89:
		m.quiet()
	case n < 91:
		m.begin()
	default:
		after(time.Duration(m.rng.IntN(1500)) * time.Millisecond)
	}
	synctest.Wait()
}

func (m *model) arrive() {
	var list []Message
	for range 1 + m.rng.IntN(3) {
		m.nextID++
		msg := Message{ID: m.nextID, Member: "flooder", Priority: []wire.Priority{wire.Now, wire.Next, wire.Low}[m.rng.IntN(3)]}
		if m.rng.IntN(2) == 0 {
			msg.Member = fmt.Sprint("member ", msg.ID)
			m.polite[msg.ID] = true
		}
		m.unread[msg.ID] = msg
		list = append(list, msg)
	}
	m.desk.Arrive(list...)
}

// check takes some of the messages, oldest first, as the model does.
func (m *model) check() {
	ids := slices.Sorted(maps.Keys(m.unread))
	ids = ids[:m.rng.IntN(len(ids)+1)]
	m.desk.Checked(ids...)
	for _, id := range ids {
		delete(m.unread, id)
	}
}

func (m *model) hook(moment Moment) {
	o := m.desk.Hook(moment)
	if o == nil {
		return
	}
	if o.Text == "" {
		m.t.Error("an empty pointer")
	}
	var err error
	if m.rng.IntN(4) == 0 {
		err = errWrite
	}
	if delay := time.Duration(m.rng.IntN(2)) * slowestWrite / 2; delay > 0 {
		time.AfterFunc(delay, func() { o.Done(err) })
	} else {
		o.Done(err)
	}
}

// attach adds a path that works, writes slowly or fails at some time.
func (m *model) attach() {
	path := []local.Path{local.PathMonitor, local.PathChannel, local.PathWaiter}[m.rng.IntN(3)]
	sub := m.desk.Attach(path, process.ID{Number: process.Number{PID: 1 + m.rng.IntN(2)}})
	sick := m.rng.IntN(2) == 0
	if !sick {
		m.healthy = append(m.healthy, sub)
	}
	rng := rand.New(rand.NewPCG(m.rng.Uint64(), 2))
	go func() {
		defer sub.Detach()
		for {
			o, err := sub.Next(context.Background())
			if err != nil {
				return
			}
			time.Sleep(time.Duration(rng.Int64N(int64(slowestWrite))))
			switch {
			case !sick:
				o.Done(nil)
			case rng.IntN(3) == 0:
				o.Done(errWrite)
			case rng.IntN(3) == 0:
				return // without reporting it
			default:
				o.Done(nil)
			}
		}
	}()
}

// begin starts another context.
func (m *model) begin() {
	m.mu.Lock()
	for id := range m.unread {
		m.again[id] = true
	}
	m.mu.Unlock()
	m.desk.Begin()
}

// restart replaces this daemon with another one.
func (m *model) restart() {
	m.desk.Close()
	after(slowestWrite) // it ends its writes
	m.healthy = nil
	m.open()
	for _, id := range slices.Sorted(maps.Keys(m.unread)) {
		msg := m.unread[id]
		m.mu.Lock()
		msg.Announced = m.told[id]
		m.mu.Unlock()
		m.desk.Arrive(msg)
	}
}

// quiet lets everything settle. After that, everything that could be announced must have been.
func (m *model) quiet() {
	monitor := m.desk.Attach(local.PathMonitor, process.ID{Number: process.Number{PID: 9}})
	defer monitor.Detach()
	go func() {
		for {
			o, err := monitor.Next(context.Background())
			if err != nil {
				return
			}
			o.Done(nil)
		}
	}()
	// Failing monitors of other processes can only be newer if they attach later. Those that
	// are writing now may fail after a while.
	after(burstLimit + 2*slowestWrite)
	for id := range m.unread {
		if m.polite[id] && !m.isTold(id) && !(m.dnd && m.unread[id].Priority != wire.Now) {
			m.t.Errorf("message %d is forgotten", id)
		}
	}
	m.wantQuiet()
}

// wantQuiet checks that no pointer appears merely because time passes.
func (m *model) wantQuiet() {
	m.mu.Lock()
	before := len(m.told)
	m.mu.Unlock()
	after(time.Hour)
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.told) != before {
		m.t.Errorf("%d messages were announced merely because time passed", len(m.told)-before)
	}
}

func (m *model) isTold(id int64) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.told[id]
}

func (m *model) finish() {
	after(2 * slowestWrite)
	m.dnd = false
	m.desk.SetDND(false)
	for _, s := range m.healthy {
		s.Detach()
	}
	after(2 * slowestWrite)
	if o := m.desk.Hook(HumanPrompt); o != nil {
		o.Done(nil)
	}
	for id := range m.unread {
		if !m.isTold(id) {
			m.t.Errorf("message %d is forgotten", id)
		}
	}
	if got := unreadOn(m.desk); got != len(m.unread) {
		m.t.Errorf("%d unread, want %d", got, len(m.unread))
	}
	if len(m.told) < 50 {
		m.t.Errorf("only %d messages announced: the test does nothing", len(m.told))
	}
	m.desk.Close()
	synctest.Wait()
}
