package attention

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/claudemesh/claudemesh/peer/daemon/process"
	"github.com/claudemesh/claudemesh/peer/local"
	"github.com/claudemesh/claudemesh/wire"
)

var errWrite = errors.New("write failed")

// rig is a Desk in a synctest bubble with a log of what it did.
type rig struct {
	*Desk
	t     *testing.T
	start time.Time

	mu        sync.Mutex
	announced []int64
}

func bubble(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &rig{t: t, start: time.Now()}
		r.Desk = New(Options{OnAnnounced: r.onAnnounced})
		defer r.Close()
		test(t, r)
	})
}

func (r *rig) onAnnounced(ids []int64) {
	unreadOn(r.Desk) // it may call the Desk
	r.mu.Lock()
	defer r.mu.Unlock()
	r.announced = append(r.announced, ids...)
}

// listener is an attached path that writes what it gets into a log.
type listener struct {
	sub  *Subscription
	done chan struct{} // closed at the end, when err is set
	err  error

	mu  sync.Mutex
	got []heard
}

type heard struct {
	after time.Duration // since the start of the test
	text  string
}

func (r *rig) listen(path local.Path, pid int) *listener { return r.listenAs(path, pid, false) }

func (r *rig) listenAs(path local.Path, pid int, fail bool) *listener {
	l := &listener{sub: r.Attach(path, process.ID{Number: process.Number{PID: pid}}), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for {
			offer, err := l.sub.Next(context.Background())
			if err != nil {
				l.err = err
				return
			}
			if fail {
				offer.Done(errWrite)
				continue
			}
			l.mu.Lock()
			l.got = append(l.got, heard{time.Since(r.start), offer.Text})
			l.mu.Unlock()
			offer.Done(nil)
		}
	}()
	return l
}

// after lets time pass and everything settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// wantPointers returns the pointers that were written so far, n of them.
func (l *listener) wantPointers(t *testing.T, n int) []heard {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.got) != n {
		t.Fatalf("heard %v, want %d pointers", l.got, n)
	}
	return l.got
}

func (l *listener) wantEnd(t *testing.T, want error) {
	t.Helper()
	select {
	case <-l.done:
	default:
		t.Fatalf("the listener has not ended, want %v", want)
	}
	if !errors.Is(l.err, want) {
		t.Fatalf("ended with %v, want %v", l.err, want)
	}
}

func (r *rig) wantAnnounced(ids ...int64) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.announced, ids) {
		r.t.Fatalf("announced %v, want %v", r.announced, ids)
	}
}

func (r *rig) wantAnnouncedCount(n int) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.announced) != n {
		r.t.Fatalf("announced %v, want %d", r.announced, n)
	}
}

// hook is a hook that writes its pointer; it returns the text.
func (r *rig) hook(m Moment) string {
	o := r.Hook(m)
	if o == nil {
		return ""
	}
	o.Done(nil)
	return o.Text
}

func (r *rig) wantHook(m Moment, count string) {
	r.t.Helper()
	got := r.hook(m)
	if count == "" && got != "" || count != "" && !strings.HasPrefix(got, count+" unread") {
		r.t.Fatalf("moment %d gives %q, want %q unread", m, got, count)
	}
}

func msg(id int64, from string) Message {
	return Message{ID: id, Member: "key of " + from, Name: from, Priority: wire.Next}
}

func now(id int64, from string) Message {
	m := msg(id, from)
	m.Priority = wire.Now
	return m
}

func TestBurstIsOnePointer(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"))
		after(200 * time.Millisecond)
		r.Arrive(msg(2, "carol"), msg(3, "bob"))
		after(249 * time.Millisecond)
		l.wantPointers(t, 0)
		after(time.Millisecond)
		got := l.wantPointers(t, 1)
		if want := "3 unread mesh messages from bob and carol: read them with check_messages"; got[0].text != want {
			t.Errorf("got %q", got[0].text)
		}
		r.wantAnnounced(1, 2, 3)
		after(time.Hour)
		l.wantPointers(t, 1)
	})
}

func TestLongBurstWaitsForOneSecond(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(local.PathMonitor, 1)
		for id := range int64(15) {
			r.Arrive(msg(id, "bob"))
			after(100 * time.Millisecond)
		}
		after(time.Minute)
		got := l.wantPointers(t, 2)
		if got[0].after != burstLimit {
			t.Errorf("first pointer after %v", got[0].after)
		}
		if want := 1400*time.Millisecond + burstPause; got[1].after != want {
			t.Errorf("second pointer after %v, want %v", got[1].after, want)
		}
		if !strings.HasPrefix(got[1].text, "15 unread") {
			t.Errorf("the pointer does not count all unread messages: %q", got[1].text)
		}
	})
}

func TestKnownMessageIsIgnored(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"))
		after(time.Second)
		r.Arrive(msg(1, "bob"))
		after(time.Second)
		l.wantPointers(t, 1)
		if unreadOn(r.Desk) != 1 {
			t.Errorf("%d unread", unreadOn(r.Desk))
		}
	})
}

func TestCheckedMessagesAreNotAnnounced(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"), msg(2, "carol"))
		r.Checked(1, 2, 7)
		after(time.Second)
		l.wantPointers(t, 0)
		r.Arrive(msg(3, "dave"))
		after(time.Second)
		got := l.wantPointers(t, 1)
		if !strings.HasPrefix(got[0].text, "1 unread mesh message from dave") {
			t.Errorf("got %q", got[0].text)
		}
		r.Checked(3)
		r.Arrive(msg(1, "bob")) // the message did not reach the model after all
		after(time.Second)
		l.wantPointers(t, 2)
		r.wantAnnounced(3, 1)
	})
}

func TestCheckedWhileThePointerIsOnItsWay(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Arrive(msg(1, "bob"), msg(2, "bob"))
		offer := r.Hook(Turn)
		r.Checked(1)
		offer.Done(nil)
		r.wantAnnounced(2)
	})
}

func TestHooksWithoutAPath(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.wantHook(Turn, "")
		r.Arrive(msg(1, "bob"))
		if r.Path() != local.PathHooks {
			t.Errorf("path %s", r.Path())
		}
		r.wantHook(Turn, "1") // without a wait for more
		r.wantHook(Turn, "")
		r.wantHook(HumanPrompt, "")
		r.Arrive(msg(2, "bob"))
		r.wantHook(HumanPrompt, "2")
		after(time.Hour)
		r.wantHook(Turn, "")

		l := r.listen(local.PathMonitor, 1)
		after(time.Hour)
		l.wantPointers(t, 0)
		r.Arrive(msg(3, "bob"))
		r.wantHook(Turn, "") // the monitor's
		after(time.Second)
		l.wantPointers(t, 1)
		r.Arrive(msg(4, "bob"))
		r.wantHook(HumanPrompt, "4") // the user is present: one pointer, with the prompt
		after(time.Hour)
		l.wantPointers(t, 1)
		r.wantAnnounced(1, 2, 3, 4)
	})
}

func TestAttachGetsWhatWaits(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Arrive(msg(1, "bob"))
		after(time.Hour)
		l := r.listen(local.PathChannel, 1)
		synctest.Wait()
		l.wantPointers(t, 1)
		if r.Path() != local.PathChannel {
			t.Errorf("path %s", r.Path())
		}
	})
}

func TestBeginTellsOfAllThatIsUnread(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Begin()
		r.wantHook(Turn, "")
		r.Arrive(msg(1, "bob"), Message{ID: 2, Announced: true})
		r.Begin()
		r.wantHook(Turn, "2")
		r.wantAnnounced(1, 2)
		r.Begin() // two hooks at once
		r.wantHook(Turn, "")
		after(startGrace)
		r.Begin() // another context
		r.wantHook(Turn, "2")
		r.wantAnnounced(1, 2, 1, 2)
		r.wantHook(HumanPrompt, "")

		// A context also wakes the session: after a resume no turn starts by itself.
		after(startGrace)
		l := r.listen(local.PathMonitor, 1)
		r.Begin()
		after(burstPause)
		l.wantPointers(t, 1)
		r.Checked(1, 2)
		after(startGrace)
		r.Begin()
		after(time.Minute)
		l.wantPointers(t, 1)
	})
}

func TestRestart(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		old := msg(1, "bob")
		old.Announced = true
		l := r.listen(local.PathMonitor, 1)
		r.Arrive(old)
		after(time.Minute)
		l.wantPointers(t, 0)
		r.wantHook(HumanPrompt, "")
		r.Arrive(msg(2, "carol"))
		after(time.Minute)
		got := l.wantPointers(t, 1)
		if !strings.HasPrefix(got[0].text, "2 unread mesh messages from bob and carol") {
			t.Errorf("got %q", got[0].text)
		}
		r.wantAnnounced(2)
	})
}

func TestDND(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(local.PathMonitor, 1)
		r.SetDND(true)
		r.Arrive(msg(1, "bob"))
		after(time.Minute)
		l.wantPointers(t, 0)
		r.Begin()
		for _, m := range []Moment{HumanPrompt, Turn} {
			r.wantHook(m, "")
		}
		r.SetDND(false)
		after(time.Minute)
		l.wantPointers(t, 1)
		r.wantAnnounced(1)

		r.SetDND(true)
		r.Arrive(msg(2, "bob"))
		after(time.Minute)
		r.Arrive(now(3, "bob"))
		after(time.Minute)
		l.wantPointers(t, 2)
		r.wantAnnounced(1, 2, 3) // the pointer also announced the held one
		r.SetDND(false)
		after(time.Minute)
		l.wantPointers(t, 2)

		r.SetDND(true)
		r.Arrive(now(4, "bob"))
		r.wantHook(HumanPrompt, "4")
	})
}

func TestDNDBeginsDuringABurst(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(local.PathMonitor, 1)
		r.Arrive(msg(1, "bob"))
		r.SetDND(true)
		after(time.Minute)
		l.wantPointers(t, 0)
		r.SetDND(false)
		after(burstPause)
		l.wantPointers(t, 1)
	})
}

func TestDNDFromTheStart(t *testing.T) {
	t.Parallel()
	d := New(Options{DND: true})
	d.Arrive(msg(1, "bob"))
	d.Begin()
	if o := d.Hook(HumanPrompt); o != nil {
		t.Errorf("got %q", o.Text)
	}
	d.SetDND(false)
	o := d.Hook(HumanPrompt)
	if o == nil {
		t.Fatal("no pointer after dnd")
	}
	o.Done(nil) // without OnAnnounced
}

func TestBudget(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		l := r.listen(local.PathMonitor, 1)
		var id int64
		arrive := func(from string) {
			id++
			r.Arrive(msg(id, from))
			after(burstPause)
		}
		for range wakeBurst {
			arrive("mallory")
		}
		l.wantPointers(t, wakeBurst)
		arrive("mallory")
		arrive("mallory")
		l.wantPointers(t, wakeBurst)
		after(time.Hour) // no timer ends the silence
		l.wantPointers(t, wakeBurst)

		arrive("mallory") // the budget is full again; this also announces the silent ones
		l.wantPointers(t, wakeBurst+1)
		r.wantAnnouncedCount(wakeBurst + 3)
		for range wakeBurst {
			arrive("mallory")
		}
		l.wantPointers(t, 2*wakeBurst)
		arrive("bob") // another has its own budget
		l.wantPointers(t, 2*wakeBurst+1)
		arrive("mallory")
		r.wantHook(Turn, "")
		r.HumanPrompt()
		after(burstPause)
		l.wantPointers(t, 2*wakeBurst+2) // free for mallory
		arrive("mallory")
		r.wantHook(HumanPrompt, "22")
		arrive("mallory")
		l.wantPointers(t, 2*wakeBurst+2)
		after(startGrace)
		r.Begin()
		after(burstPause)
		l.wantPointers(t, 2*wakeBurst+3)
		r.wantHook(Turn, "")
	})
}

func TestBudgetOfHooks(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		for id := range int64(wakeBurst) {
			r.Arrive(msg(id, "mallory"))
			if r.hook(Turn) == "" {
				t.Fatalf("pointer %d is missing", id)
			}
		}
		r.Arrive(msg(20, "mallory"))
		r.wantHook(Turn, "")
		after(wakeRefill)
		r.wantHook(Turn, "")
		r.Arrive(msg(21, "mallory"))
		r.wantHook(Turn, "10")
		r.Arrive(msg(22, "mallory"))
		r.wantHook(Turn, "")
		r.wantHook(HumanPrompt, "11")
	})
}

func TestFailedPointerCostsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Arrive(msg(1, "bob"))
		for range 3 * wakeBurst {
			o := r.Hook(Turn)
			if o == nil {
				t.Fatal("the message was forgotten")
			}
			o.Done(errWrite)
			o.Done(nil) // too late
		}
		r.wantAnnounced()
		r.wantHook(Turn, "1")
	})
}

func TestFailoverOfPaths(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		waiter := r.listen(local.PathWaiter, 2) // of another process, since one of the same would be released
		channel := r.listenAs(local.PathChannel, 1, true)
		monitor := r.listenAs(local.PathMonitor, 1, true)
		r.Arrive(msg(1, "bob"))
		after(burstPause)
		monitor.wantEnd(t, errFailed)
		channel.wantEnd(t, errFailed)
		waiter.wantPointers(t, 1)
		waiter.wantEnd(t, ErrReleased)
		r.wantAnnounced(1)

		last := r.listenAs(local.PathWaiter, 2, true)
		r.Arrive(msg(2, "bob"))
		after(burstPause)
		last.wantEnd(t, errFailed)
		r.wantHook(Turn, "2")
		r.wantAnnounced(1, 2)
	})
}

func TestDetachGivesThePointerBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Arrive(msg(1, "bob"))
		after(burstPause)
		sub := r.Attach(local.PathMonitor, process.ID{})
		offer, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Hook(HumanPrompt) != nil {
			t.Error("the message was announced on two paths at once")
		}
		sub.Detach()
		offer.Done(nil) // too late
		r.wantAnnounced()
		if _, err := sub.Next(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Next after Detach: %v", err)
		}
		r.wantHook(Turn, "1")
		sub.Detach()
	})
}

func TestMessagesThatArriveDuringAWrite(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Arrive(msg(1, "bob"))
		after(burstPause)
		sub := r.Attach(local.PathMonitor, process.ID{})
		first, err := sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		r.Arrive(msg(2, "carol"))
		second := r.Hook(HumanPrompt)
		if second == nil || !strings.HasPrefix(second.Text, "2 unread") {
			t.Fatalf("got %+v", second)
		}
		second.Done(nil)
		r.wantAnnounced(1, 2)
		first.Done(errWrite) // its messages have been announced already
		r.wantHook(Turn, "")
		r.wantAnnounced(1, 2)
	})
}

func TestFailureOfOneGivesNothingOfAnotherBack(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.Arrive(msg(1, "bob"))
		first := r.Hook(Turn)
		r.Arrive(msg(2, "carol"))
		r.Hook(HumanPrompt).Done(errWrite) // this pointer covered both messages
		r.Checked(2)
		r.wantHook(HumanPrompt, "") // the first pointer is still being written
		first.Done(nil)
		r.wantAnnounced(1)
	})
}

func TestNewestMonitorWins(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		first := r.listen(local.PathMonitor, 1)
		other := r.listen(local.PathMonitor, 2)
		second := r.listen(local.PathMonitor, 1)
		synctest.Wait()
		first.wantEnd(t, ErrReplaced)
		r.Arrive(msg(1, "bob"))
		after(time.Second)
		second.wantPointers(t, 1)
		other.wantPointers(t, 0)
		second.sub.Detach()
		r.Arrive(msg(2, "bob"))
		after(time.Second)
		other.wantPointers(t, 1)
	})
}

// TestWaiterStandsBy checks that a waiter gets no pointers while its process has a better
// path, which may turn out to reach nobody.
func TestWaiterStandsBy(t *testing.T) {
	for _, better := range []local.Path{local.PathMonitor, local.PathChannel} {
		t.Run(string(better), func(t *testing.T) {
			bubble(t, func(t *testing.T, r *rig) {
				waiter := r.listen(local.PathWaiter, 1)
				elsewhere := r.listen(local.PathWaiter, 2)
				best := r.listen(better, 1)
				late := r.listen(local.PathWaiter, 1)
				synctest.Wait()
				waiter.wantEnd(t, ErrReplaced)
				r.Arrive(msg(1, "bob"))
				after(time.Second)
				late.wantPointers(t, 0)
				elsewhere.wantPointers(t, 0)
				best.wantPointers(t, 1)
				best.sub.Detach()
				r.Arrive(msg(2, "bob"))
				after(time.Second)
				late.wantPointers(t, 1)
				late.wantEnd(t, ErrReleased)
				elsewhere.wantPointers(t, 0)
			})
		})
	}
}

// unreadOn returns how many messages a desk counts as unread.
func unreadOn(d *Desk) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.unread)
}
