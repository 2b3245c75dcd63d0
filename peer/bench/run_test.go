package bench

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// TestRun does a small run of every kind against a correct broker.
func TestRun(t *testing.T) {
	t.Parallel()
	url, metrics := startBroker(t, nil)
	second := Duration(time.Second)
	for _, tc := range []struct {
		name      string
		kind      Kind
		settings  Settings
		delivered float64 // exactly; 0 means any positive number
		times     []string
		known     []string
	}{
		{"throughput for a time", Throughput, Settings{Pairs: 3, Window: 4, Size: 100, Duration: second}, 0,
			[]string{"send_push", "send_ack"}, []string{"messages_per_second", "commits_per_message", "broker_memory_peak", "load_cpu"}},
		{"throughput of a number", Throughput, Settings{Pairs: 3, Window: 4, Size: 1, Messages: 100}, 100, []string{"send_push", "send_ack"}, nil},
		{"throughput, sealed", Throughput, Settings{Pairs: 2, Window: 4, Size: 1000, Messages: 50, Crypto: true}, 50, []string{"send_push", "send_ack"}, nil},
		{"rate", Rate, Settings{Pairs: 3, Rate: 200, Size: 100, Duration: second}, 200, []string{"send_push", "send_ack", "sent_late"}, nil},
		{"burst", Burst, Settings{Peers: 5, Messages: 40, Size: 100}, 200, []string{"send_push", "send_ack"}, []string{"seconds"}},
		{"fanout", Fanout, Settings{Recipients: 7, Messages: 5, Size: 100}, 35,
			[]string{"send_ack", "first_recipient", "median_recipient", "last_recipient"}, nil},
		{"fanout, sealed", Fanout, Settings{Recipients: 7, Messages: 2, Size: 100, Crypto: true}, 14,
			[]string{"send_ack", "first_recipient", "median_recipient", "last_recipient"}, nil},
		{"idle", Idle, Settings{Sessions: 20, Parallel: 4, Duration: second / 10}, -1, []string{"connect"},
			[]string{"connects_per_second", "broker_memory_peak"}},
		{"storm", Storm, Settings{Sessions: 20, Pairs: 5, Rate: 100, Size: 100}, 0, []string{"send_push", "send_ack", "sent_late", "reconnect"}, []string{"seconds"}},
		{"soak", Soak, Settings{Pairs: 2, Rate: 100, Size: 100, Duration: second, Interval: second / 4}, 100, []string{"send_push", "send_ack", "sent_late"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if tc.kind != Idle {
				tc.settings.Timeout = Duration(patience)
			}
			var intervals atomic.Int32
			r, err := Run(t.Context(), tc.kind, Config{
				Mesh: newMesh(t, url), Broker: Metrics(metrics, nil), OnInterval: func(Interval) { intervals.Add(1) },
			}, tc.settings)
			if err != nil {
				t.Fatal(err)
			}
			if failed := r.Failed(); len(failed) > 0 || r.Interrupted {
				t.Errorf("failed: %v, %+v", failed, r)
			}
			if r.Name != tc.kind || r.Settings != tc.settings || r.Machine.BrokerVersion != "1.2.3" {
				t.Errorf("got %+v", r)
			}
			if notes := slices.DeleteFunc(r.Notes, isAboutThisMachine); len(notes) > 0 && tc.kind != Idle {
				t.Errorf("notes: %q", notes)
			}
			var times []string
			for i := range r.Times {
				times = append(times, r.Times[i].Name)
				if x := &r.Times[i]; x.Count == 0 || x.P50 > x.P95 || x.P95 > x.P99 || x.P99 > x.Max || x.Max <= 0 {
					t.Errorf("times: %+v", x)
				}
			}
			if !slices.Equal(times, tc.times) {
				t.Errorf("times are %v, want %v", times, tc.times)
			}
			for _, name := range tc.known {
				value(t, r, name)
			}
			if tc.delivered >= 0 {
				checkDelivered(t, r, tc.delivered)
			}
			if n := int(intervals.Load()); n != len(r.Intervals) || tc.kind == Soak && n < 1 {
				t.Errorf("%d intervals were told, %d are in the result", n, len(r.Intervals))
			}
			checkKind(t, r)
		})
	}
}

// isAboutThisMachine reports whether a note says that the load, or the reading of the intervals, was
// too slow. That can happen if other tests run at the same time.
func isAboutThisMachine(note string) bool {
	return strings.Contains(note, "were sent more than") || strings.Contains(note, "at least two intervals")
}

func checkDelivered(t *testing.T, r *Result, want float64) {
	t.Helper()
	sent, acked, got := value(t, r, "sent"), value(t, r, "acknowledged"), value(t, r, "delivered")
	if r.Name != Fanout && (sent != got || acked != got) || want > 0 && got != want || got == 0 {
		t.Errorf("%v sent, %v acknowledged, %v delivered, want %v", sent, acked, got, want)
	}
}

func checkKind(t *testing.T, r *Result) {
	t.Helper()
	switch r.Name {
	case Burst:
		if v := value(t, r, "delivered_share"); v != 100 {
			t.Errorf("%v %% delivered", v)
		}
	case Storm:
		if v := value(t, r, "back"); v != 20 || value(t, r, "disconnects") != 0 {
			t.Errorf("%v sessions are back: %+v", v, r.Results)
		}
	case Idle:
		if v := value(t, r, "sessions"); v != 20 {
			t.Errorf("%v sessions", v)
		}
	case Soak:
		for _, name := range []string{"send_push_p50_drift", "send_push_p99_drift", "broker_memory_drift"} {
			// On a busy machine, intervals are missing, or nothing arrives in one.
			if len(r.Intervals) > 1 && !slices.ContainsFunc(r.Results, func(f Figure) bool { return f.Name == name }) {
				t.Errorf("no figure %s in %+v", name, r.Results)
			}
		}
	case Rate:
		if v := value(t, r, "messages_per_second"); v <= 0 || v > 205 { // a busy machine falls short of 200
			t.Errorf("the rate was %v", v)
		}
	}
}

// TestFanoutRemovesItsGuest checks that the guest of a fanout is a removed member
// afterwards.
func TestFanoutRemovesItsGuest(t *testing.T) {
	t.Parallel()
	url, _ := startBroker(t, nil)
	m := newMesh(t, url)
	if _, err := Run(t.Context(), Fanout, Config{Mesh: m}, Settings{Recipients: 2, Messages: 1, Size: 10, Timeout: Duration(patience)}); err != nil {
		t.Fatal(err)
	}
	client, err := peer.Dial(t.Context(), peer.Options{Mesh: m, About: peer.About{Capabilities: []string{wire.CapTransient}}, OneShot: true})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	members, err := client.ListMembers(t.Context())
	if err != nil || len(members) != 2 {
		t.Fatalf("got %+v, %v", members, err)
	}
	for i := range members {
		if own := members[i].Pubkey == m.Member.Public(); own == members[i].Removed {
			t.Errorf("%s: removed %v", members[i].DisplayName, members[i].Removed)
		}
	}
}

func TestRefusalsAreExplained(t *testing.T) {
	t.Parallel()
	url, _ := startBroker(t, func(s *broker.Settings) { s.SendRatePerMin, s.SendBurst = 1, 10 })
	r, err := Run(t.Context(), Rate, Config{Mesh: newMesh(t, url)}, Settings{Pairs: 2, Rate: 1000, Size: 10, Duration: Duration(time.Second / 10), Timeout: Duration(patience)})
	if err != nil {
		t.Fatal(err)
	}
	if sent, refused := value(t, r, "sent"), value(t, r, "refused"); sent != 100 || refused < 80 || value(t, r, "delivered") != sent-refused {
		t.Errorf("%v sent, %v refused: %+v", sent, refused, r.Results)
	}
	if len(r.Failed()) > 0 {
		t.Errorf("a refused message counted as a broken promise: %v", r.Failed())
	}
	r.Notes = slices.DeleteFunc(r.Notes, isAboutThisMachine)
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "raise its send_rate_per_min") || !strings.Contains(r.Notes[0], "burst 10") {
		t.Errorf("notes: %q", r.Notes)
	}
}

func TestInterruptedRunHasAResult(t *testing.T) {
	t.Parallel()
	url, _ := startBroker(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	c := Config{Mesh: newMesh(t, url), OnInterval: func(Interval) { cancel() }}
	r, err := Run(ctx, Soak, c, Settings{Pairs: 1, Rate: 100, Size: 10, Duration: Duration(time.Hour), Interval: Duration(time.Second / 5), Timeout: Duration(patience)})
	if err != nil || !r.Interrupted || len(r.Failed()) > 0 || value(t, r, "delivered") == 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestRunFailsToStart(t *testing.T) {
	t.Parallel()
	url, _ := startBroker(t, nil)
	stranger, away := newMesh(t, url), newMesh(t, url)
	stranger.Member = newMesh(t, url).Member
	away.BrokerURL = "ws://127.0.0.1:1/ws"
	s := Defaults(Rate)
	var refused *peer.HelloError
	if _, err := Run(t.Context(), Rate, Config{Mesh: stranger}, s); !errors.As(err, &refused) || refused.Code != wire.CodeUnauthorized {
		t.Errorf("no member: %v", err)
	}
	if _, err := Run(t.Context(), Rate, Config{Mesh: away}, s); err == nil || !strings.Contains(err.Error(), "connect 20 sessions") {
		t.Errorf("no broker: %v", err)
	}
	s.Pairs = 0
	var setting *SettingError
	if _, err := Run(t.Context(), Rate, Config{Mesh: stranger}, s); !errors.As(err, &setting) || setting.Name != "pairs" {
		t.Errorf("no pairs: %v", err)
	}
	if _, err := Run(t.Context(), "none", Config{}, s); err == nil {
		t.Error("a bench that doesn't exist was run")
	}
}

func TestMetricsOfAnotherBroker(t *testing.T) {
	t.Parallel()
	url, _ := startBroker(t, nil)
	_, other := startBroker(t, nil)
	r, err := Run(t.Context(), Idle, Config{Mesh: newMesh(t, url), Broker: Metrics(other, nil)}, Settings{Sessions: 3, Parallel: 1, Duration: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, known := r.Value("broker_memory_peak"); known || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "another broker") {
		t.Errorf("got %+v, %q", r.Results, r.Notes)
	}
}

// TestOnRefusal checks that senders that resend at once get a refusal for nearly every
// message; senders that pause get few.
func TestOnRefusal(t *testing.T) {
	t.Parallel()
	for _, resend := range []bool{false, true} {
		url, _ := startBroker(t, func(s *broker.Settings) { s.SendRatePerMin, s.SendBurst = 600, 10 })
		r, err := Run(t.Context(), Throughput, Config{Mesh: newMesh(t, url)},
			Settings{Pairs: 1, Window: 4, Size: 10, Resend: resend, Duration: Duration(time.Second), Timeout: Duration(patience)})
		if err != nil {
			t.Fatal(err)
		}
		// Each refusal causes a pause, so there is at most a window of refusals at a time.
		if n := value(t, r, "refused"); n == 0 || !resend && n > 60 || len(r.Failed()) > 0 {
			t.Errorf("resend %v: %v refused, failed %v", resend, n, r.Failed())
		}
	}
}

// TestIdleTellsWhetherTheBrokerWasFresh checks that a result says whether the new sessions
// may reuse the memory of earlier ones.
func TestIdleTellsWhetherTheBrokerWasFresh(t *testing.T) {
	t.Parallel()
	url, metrics := startBroker(t, nil)
	mesh := newMesh(t, url)
	for _, tc := range []struct {
		name  string
		gauge Gauge
		fresh float64 // -1: unknown
		note  string
	}{
		{"the first", Metrics(metrics, nil), 1, "the broker was fresh"},
		{"the second", Metrics(metrics, nil), 0, "the broker was not fresh"},
		{"by its process", Process(os.Getpid()), -1, "unknown whether the broker was fresh"},
		{"by nothing", nil, -1, ""},
	} {
		r, err := Run(t.Context(), Idle, Config{Mesh: mesh, Broker: tc.gauge}, Settings{Sessions: 2, Parallel: 1, Duration: 1})
		if err != nil {
			t.Fatal(err)
		}
		fresh, known := r.Value("broker_fresh")
		if !known {
			fresh = -1
		}
		if told := strings.Join(r.Notes, "; "); fresh != tc.fresh || !strings.Contains(told, tc.note) || tc.note == "" && told != "" {
			t.Errorf("%s: fresh %v, %q", tc.name, fresh, told)
		}
	}
}

// TestMemoryNeedsBothReadings checks that the memory per session is unknown if one of its two
// readings fails, although others succeed.
func TestMemoryNeedsBothReadings(t *testing.T) {
	t.Parallel()
	down := errors.New("the metrics are down")
	for name, fails := range map[string]func(collected int32, r Reading) bool{
		"the first": func(collected int32, r Reading) bool { return collected == 1 && r.Connections == 0 },
		"the last":  func(collected int32, _ Reading) bool { return collected == 2 },
	} {
		url, metrics := startBroker(t, nil)
		read := Metrics(metrics, nil)
		var collected atomic.Int32 // the garbage is collected before both readings
		r, err := Run(t.Context(), Idle, Config{
			Mesh: newMesh(t, url), Collect: func(context.Context) error { collected.Add(1); return nil },
			Broker: func(ctx context.Context) (Reading, error) {
				r, err := read(ctx)
				if err == nil && fails(collected.Load(), r) {
					return Reading{}, down
				}
				return r, err
			},
		}, Settings{Sessions: 2, Parallel: 1, Duration: 1})
		if err != nil {
			t.Fatal(err)
		}
		if kb, known := r.Value("broker_memory_per_session"); known || !strings.Contains(strings.Join(r.Notes, "; "), down.Error()) {
			t.Errorf("without %s reading, a session has %v kB, %q", name, kb, r.Notes)
		}
	}
}

// TestInterruptedIdleCollects checks that the garbage is also collected before the last reading
// of an interrupted run.
func TestInterruptedIdleCollects(t *testing.T) {
	t.Parallel()
	url, metrics := startBroker(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := Run(ctx, Idle, Config{
		Mesh: newMesh(t, url), Broker: Metrics(metrics, nil), Collect: func(ctx context.Context) error { return ctx.Err() },
		OnProgress: func(p Progress) {
			if p.Phase == "holding" {
				cancel()
			}
		},
	}, Settings{Sessions: 2, Parallel: 1, Duration: Duration(time.Hour)})
	if err != nil || !r.Interrupted {
		t.Fatalf("got %+v, %v", r, err)
	}
	if told := strings.Join(r.Notes, "; "); strings.Contains(told, "garbage") || strings.Contains(told, "1h") {
		t.Error(told)
	}
}
