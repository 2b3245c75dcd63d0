package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/bench"
)

// exitsLoss explains exit code 1 of a benchmark.
const exitsLoss = "1  a message was lost, duplicated, reordered, changed, delivered to a wrong recipient, or never\n     acknowledged; or the benchmark could not run"

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure a broker, and check that it loses nothing",
		Long: `Put load on the broker of a mesh that you are a member of, measure how fast messages
arrive, and check that each message arrives exactly once and in order.

The load comes from sessions of yours, named bench-…, that only send to each other. Other
peers of the mesh see them come and go, so use a mesh, or better a broker, that nobody else
uses. All sessions together count as one member for the broker's limits. For meaningful
figures, start the broker with SEND_RATE_PER_MIN, SEND_BURST, WORK_PER_MIN, WORK_BURST and
NEW_SESSIONS_PER_HOUR set to 1000000000 (the Caddyfile options have the same names in lower
case). The benchmark counts refused messages, but does not treat them as failures.

Message bodies are random bytes of the size of sealed ones; with --crypto, the sessions
really seal and open them. --metrics says where to read the broker's memory from Caddy's
metrics: a URL, or the address of the admin API as Caddy writes it. For a broker on this
machine, the default is $CADDY_ADMIN, or caddy-admin.sock in the current directory, or
localhost:2019. --pid reads it from a process on this machine instead.

--json: {schema, name, startedAt, settings, results [{name, value, unit, better}],
times [{name, count, p50_ms, p95_ms, p99_ms, max_ms}], intervals, notes, machine,
interrupted}; unknown values are null. 'claudemesh bench compare' reads this.`,
		Example: `  claudemesh bench throughput --pairs 50 --window 32
  claudemesh bench rate --rate 200 --json > before.json
  claudemesh bench compare before.json after.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.throughputCommand(), a.rateCommand(), a.burstCommand(), a.fanoutCommand(),
		a.idleCommand(), a.stormCommand(), a.soakCommand(), a.benchCompareCommand(),
	)
	return cmd
}

// benchRun is a benchmark run as the command line describes it.
type benchRun struct {
	kind     bench.Kind
	settings bench.Settings
	metrics  string
	pid      int
	from     string // fanout: the config directory of the sender
	gc       bool   // idle
	json     bool
	progress bool
}

// benchOf makes the command of one kind of benchmark. flags adds its own flags.
func (a *app) benchOf(kind bench.Kind, short, long string, flags func(*benchRun, *cobra.Command)) *cobra.Command {
	b := &benchRun{kind: kind, settings: bench.Defaults(kind)}
	cmd := &cobra.Command{
		Use: string(kind), Short: short, Long: long, Args: cobra.NoArgs,
		Example:     fmt.Sprintf("  claudemesh bench %[1]s --mesh load\n  claudemesh bench %[1]s --json > %[1]s.json", kind),
		Annotations: exits(exitsDone, exitsLoss, exitsUsage),
		RunE: func(cmd *cobra.Command, _ []string) error {
			given := cmd.Flags().Changed
			if kind == bench.Throughput && given("messages") && !given("duration") {
				b.settings.Duration = 0
			}
			if kind == bench.Storm && !given("pairs") {
				b.settings.Pairs = min(b.settings.Pairs, b.settings.Sessions/2)
			}
			if given("pid") && b.metrics != "" {
				return usagef("use either --metrics or --pid, not both")
			}
			return a.bench(cmd.Context(), b)
		},
	}
	f := cmd.Flags()
	flags(b, cmd)
	if kind != bench.Idle {
		f.IntVar(&b.settings.Size, "size", b.settings.Size, "size of a message body in bytes, before it is sealed")
		f.BoolVar(&b.settings.Crypto, "crypto", false, "seal and open the bodies; the times include this")
		timeVar(cmd, &b.settings.Timeout, "timeout", "how long to wait at the end for messages that are in flight")
	}
	f.StringVar(&b.metrics, "metrics", "", "where to read the broker's memory: URL of its metrics, or unix/<path> of Caddy's admin socket")
	f.IntVar(&b.pid, "pid", 0, "read the memory of this process on this machine, the broker")
	f.BoolVar(&b.json, "json", false, "print JSON")
	f.BoolVar(&b.progress, "progress", false, "print progress every second, even if standard error isn't a terminal")
	return cmd
}

// benchTime is a flag for a bench.Duration.
type benchTime struct{ to *bench.Duration }

func timeVar(cmd *cobra.Command, to *bench.Duration, name, usage string) {
	cmd.Flags().Var(benchTime{to}, name, usage)
}

// Set reads the flag.
func (t benchTime) Set(s string) error {
	var d duration
	err := d.Set(s)
	*t.to = bench.Duration(d)
	return err
}

// String returns the default.
func (t benchTime) String() string {
	if t.to == nil {
		return ""
	}
	d := duration(*t.to)
	return d.String()
}

// Type names the kind of value in help texts.
func (t benchTime) Type() string { return "duration" }

func (a *app) throughputCommand() *cobra.Command {
	return a.benchOf(bench.Throughput, "Send as many messages as the broker accepts",
		`Keep --window messages in flight from each sender to its recipient, for --duration or until
--messages are sent, and count the messages that arrive. A message is in flight until the
broker has acknowledged it to the sender and delivered it to the recipient. A healthy broker
refuses none of them; after a refusal, all senders pause for a moment. With --on-refusal
resend, the sender sends another message at once instead.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Pairs, "pairs", s.Pairs, "number of senders, each with its own recipient")
			f.IntVar(&s.Window, "window", s.Window, "messages in flight per pair")
			f.IntVar(&s.Messages, "messages", s.Messages, "total number of messages; replaces --duration unless that is given, too")
			f.Var(benchRefusal{&s.Resend}, "on-refusal", "what senders do when the broker refuses a message: pause, or resend at once")
			timeVar(cmd, &s.Duration, "duration", "how long to send")
		})
}

// benchRefusal is the flag --on-refusal.
type benchRefusal struct{ resend *bool }

// Set reads the flag.
func (r benchRefusal) Set(s string) error {
	if s != "pause" && s != "resend" {
		return fmt.Errorf("must be pause or resend, not %q", s)
	}
	*r.resend = s == "resend"
	return nil
}

// String returns the default.
func (r benchRefusal) String() string {
	if r.resend != nil && *r.resend {
		return "resend"
	}
	return "pause"
}

// Type names the kind of value in help texts.
func (r benchRefusal) Type() string { return "string" }

func (a *app) rateCommand() *cobra.Command {
	return a.benchOf(bench.Rate, "Measure latency at a fixed rate",
		`Send --rate messages per second over --pairs, evenly spaced, no matter how the broker
responds. Latency counts from the time at which a message was due, so that a pause of the
broker shows in every message that it delays. "sent late" shows how late messages were sent.`,
		func(b *benchRun, cmd *cobra.Command) {
			s := &b.settings
			pairsAndRate(s, cmd)
			timeVar(cmd, &s.Duration, "duration", "how long to send")
		})
}

func pairsAndRate(s *bench.Settings, cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&s.Pairs, "pairs", s.Pairs, "number of senders, each with its own recipient")
	f.Float64Var(&s.Rate, "rate", s.Rate, "messages per second, for all pairs together")
}

func (a *app) burstCommand() *cobra.Command {
	return a.benchOf(bench.Burst, "Send everything at once",
		`Each of --peers sessions sends --messages to the others in turn, all at once. Wait until all
messages are delivered, or until --timeout. Messages that the broker has no room for
(queue_full, try_again) are sent again; messages that its rate limit refuses are not.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Peers, "peers", s.Peers, "number of sessions, each a sender and a recipient")
			f.IntVar(&s.Messages, "messages", s.Messages, "messages per session")
		})
}

func (a *app) fanoutCommand() *cobra.Command {
	return a.benchOf(bench.Fanout, "Send messages to a group",
		`Send --messages, one after the other, to a group of --recipients sessions, and measure when
the first, the median and the last recipient get each message.

A message to a group does not reach the sessions of its own sender's member. So the benchmark
needs a second member to send: it invites a guest, for which you must be an admin of the
mesh, and removes it at the end. Or use --from with the config directory of another member.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Recipients, "recipients", s.Recipients, "number of sessions in the group")
			f.IntVar(&s.Messages, "messages", s.Messages, "number of messages, sent one after the other")
			f.StringVar(&b.from, "from", "", "config directory of another member of the mesh, which sends")
		})
}

func (a *app) idleCommand() *cobra.Command {
	return a.benchOf(bench.Idle, "Measure the cost of idle sessions",
		`Connect --sessions and hold them for --duration. Measure how fast they connect, and how much
the broker's memory grows per session between the first connection and the end: the memory
of the process, and the part that is in use (Go's heap and stacks). Use a freshly started
broker: one that has served sessions before reuses their memory. The result says whether it
was fresh. With --gc the broker collects its garbage before both readings.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Sessions, "sessions", s.Sessions, "number of sessions")
			f.IntVar(&s.Parallel, "parallel", s.Parallel, "number of sessions that connect at the same time")
			timeVar(cmd, &s.Duration, "duration", "how long to hold the sessions")
			f.BoolVar(&b.gc, "gc", false, "make the broker collect its garbage first, through Caddy's admin API at the host of --metrics")
		})
}

func (a *app) stormCommand() *cobra.Command {
	return a.benchOf(bench.Storm, "Drop all connections and reconnect at once",
		`Connect --sessions, let some of them exchange messages, cut all connections at the same
moment, and measure how long it takes until all are back. Messages in flight must arrive.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Sessions, "sessions", s.Sessions, "number of sessions")
			pairsAndRate(s, cmd)
		})
}

func (a *app) soakCommand() *cobra.Command {
	return a.benchOf(bench.Soak, "Send at a fixed rate for hours, and report drift",
		`Send at a fixed rate for a long time, like 'bench rate', and print a line per --interval. At
the end, compare the medians of the first and the last quarter of the intervals.
Ctrl-C ends the run early and prints the figures so far.`,
		func(b *benchRun, cmd *cobra.Command) {
			s := &b.settings
			pairsAndRate(s, cmd)
			timeVar(cmd, &s.Duration, "duration", "how long to send")
			timeVar(cmd, &s.Interval, "interval", "time between two lines")
		})
}

// bench runs a benchmark and prints its result.
func (a *app) bench(ctx context.Context, b *benchRun) error {
	var setting *bench.SettingError
	if err := b.settings.Validate(b.kind); errors.As(err, &setting) {
		return usagef("--%s must be %s", setting.Name, setting.Want)
	}
	m, err := a.joined()
	if err != nil {
		return err
	}
	c := bench.Config{Mesh: m}
	if c.Sender, err = b.sender(&m); err != nil {
		return err
	}
	if c.Broker, err = b.gauge(ctx, m.BrokerURL); err != nil {
		return err
	}
	if b.gc {
		c.Collect = bench.CollectGarbage(metricsAt(b.metrics))
	}
	show := a.newBenchProgress(b)
	c.OnProgress, c.OnInterval = show.progress, show.interval
	result, err := bench.Run(ctx, b.kind, c, b.settings)
	show.clear()
	if err != nil {
		return err
	}
	if b.json {
		err = a.printJSON(result)
	} else {
		err = a.printBench(result)
	}
	if err != nil {
		return err
	}
	return a.benchVerdict(result)
}

// benchVerdict prints failures to standard error.
func (a *app) benchVerdict(r *bench.Result) error {
	failed := r.Failed()
	for _, name := range failed {
		n, _ := r.Value(name)
		fmt.Fprintf(a.err, "claudemesh: %s: %s messages\n", benchLabel(name), benchValue(&n, ""))
	}
	if r.Interrupted {
		fmt.Fprintln(a.err, "claudemesh: interrupted; these are the figures so far")
	}
	if len(failed) > 0 || r.Interrupted {
		return errReported
	}
	return nil
}

// sender returns the credentials of the member that --from names.
func (b *benchRun) sender(m *peer.Mesh) (peer.Mesh, error) {
	if b.from == "" {
		return peer.Mesh{}, nil
	}
	config, err := peer.LoadConfig(peer.Dir(b.from))
	if err != nil {
		return peer.Mesh{}, err
	}
	from, err := config.Find(m.MeshID)
	if err != nil {
		return peer.Mesh{}, fmt.Errorf("in %s: %w", b.from, err)
	}
	if from.Member.Public() == m.Member.Public() {
		return peer.Mesh{}, usagef("--from names the config directory of the same member; the sender must be another member")
	}
	sender := *from
	sender.BrokerURL = m.BrokerURL
	return sender, nil
}

// gauge returns a gauge of the broker's memory, or nil if there is none.
func (b *benchRun) gauge(ctx context.Context, brokerURL string) (bench.Gauge, error) {
	gauge, asked := bench.Metrics(metricsAt(b.metrics)), true
	switch {
	case b.pid != 0:
		gauge = bench.Process(b.pid)
	case b.metrics != "":
	case isLoopback(brokerURL):
		asked = false
	default:
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := gauge(ctx); err != nil {
		if asked {
			return nil, fmt.Errorf("read the broker's memory: %s; correct --metrics or --pid, or leave it out", err.Error())
		}
		return nil, nil // only the default was tried
	}
	return gauge, nil
}

func isLoopback(brokerURL string) bool {
	u, err := url.Parse(brokerURL)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return strings.EqualFold(u.Hostname(), "localhost") || ip != nil && ip.IsLoopback()
}
