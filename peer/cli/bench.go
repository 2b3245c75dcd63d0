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

// exitsLoss is when a bench has failed.
const exitsLoss = "1  a message was lost, duplicated, out of order, changed or delivered to another, or its\n     sending was never answered; or the bench could not run"

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure a broker, and check that it loses nothing",
		Long: `Put load on the broker of a mesh that you are a member of, measure how fast messages
arrive, and check of each one that it does, once and in order.

The load is sessions of yours, named bench-…, that send to each other only; they come and
go before the eyes of the mesh's other peers. Use a mesh, better a broker, that nobody works
with. The broker's limits for one member hold for all of them together: for figures that
mean something start it with SEND_RATE_PER_MIN, SEND_BURST, WORK_PER_MIN, WORK_BURST and
NEW_SESSIONS_PER_HOUR at 1000000000 (the options of its Caddyfile have the same names, in
small letters). What it refuses is counted.

Bodies are random bytes, of the length of sealed ones; with --crypto they are sealed and
opened. The broker's memory is read from Caddy's metrics (--metrics: a URL, or the address
of the admin API as Caddy writes it; by default, when the broker is on this machine, from
$CADDY_ADMIN, caddy-admin.sock in the current directory, or localhost:2019), or from a
process of this machine (--pid).

A refused message is no failure.

--json: {schema, name, startedAt, settings, results [{name, value, unit, better}],
times [{name, count, p50_ms, p95_ms, p99_ms, max_ms}], intervals, notes, machine,
interrupted}; a value that is unknown is null. Keep it for 'claudemesh bench compare'.`,
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

// benchRun is one run of a bench as the command line asks for it.
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

// benchOf makes the command of one kind of bench. flags adds what is particular to it.
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
				return usagef("--metrics and --pid exclude each other")
			}
			return a.bench(cmd.Context(), b)
		},
	}
	f := cmd.Flags()
	flags(b, cmd)
	if kind != bench.Idle {
		f.IntVar(&b.settings.Size, "size", b.settings.Size, "bytes of a message's body, before it is sealed")
		f.BoolVar(&b.settings.Crypto, "crypto", false, "seal and open the bodies; the times include it")
		timeVar(cmd, &b.settings.Timeout, "timeout", "how long to wait for what is still under way")
	}
	f.StringVar(&b.metrics, "metrics", "", "URL of the broker's metrics, or unix/<path> of Caddy's admin socket, for its memory")
	f.IntVar(&b.pid, "pid", 0, "process id of a broker on this machine, for its memory")
	f.BoolVar(&b.json, "json", false, "print JSON")
	f.BoolVar(&b.progress, "progress", false, "tell every second how it goes, even if standard error is no terminal")
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

// String writes the default.
func (t benchTime) String() string {
	if t.to == nil {
		return ""
	}
	d := duration(*t.to)
	return d.String()
}

// Type names the kind of value in the help.
func (t benchTime) Type() string { return "duration" }

func (a *app) throughputCommand() *cobra.Command {
	return a.benchOf(bench.Throughput, "As many messages as go through",
		`Keep --window messages under way from each sender to its recipient, for --duration or
until --messages have gone out, and count what arrives. A message is under way until it
has been acknowledged to its sender and delivered to its recipient. After a refusal, which
a sound broker has no reason for, all senders pause for a moment; with --on-refusal resend
another message goes out at once.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Pairs, "pairs", s.Pairs, "senders, each with a recipient of its own")
			f.IntVar(&s.Window, "window", s.Window, "messages of a pair under way at once")
			f.IntVar(&s.Messages, "messages", s.Messages, "messages in all; the time does not count then, unless --duration is given too")
			f.Var(benchRefusal{&s.Resend}, "on-refusal", "what senders do when a message is refused: pause, or resend at once")
			timeVar(cmd, &s.Duration, "duration", "how long to send")
		})
}

// benchRefusal is a flag that tells whether refused messages go out again at once.
type benchRefusal struct{ resend *bool }

// Set reads the flag.
func (r benchRefusal) Set(s string) error {
	if s != "pause" && s != "resend" {
		return errors.New("pause or resend")
	}
	*r.resend = s == "resend"
	return nil
}

// String writes the default.
func (r benchRefusal) String() string {
	if r.resend != nil && *r.resend {
		return "resend"
	}
	return "pause"
}

// Type names the kind of value in the help.
func (r benchRefusal) Type() string { return "string" }

func (a *app) rateCommand() *cobra.Command {
	return a.benchOf(bench.Rate, "Latency at a fixed rate",
		`Send --rate messages a second over --pairs, at equal distances, whatever the broker does.
Latency counts from when a message should have gone out, so that a pause of the broker's
shows in every message that it held up. sent late tells how late they did go out.`,
		func(b *benchRun, cmd *cobra.Command) {
			s := &b.settings
			pairsAndRate(s, cmd)
			timeVar(cmd, &s.Duration, "duration", "how long to send")
		})
}

func pairsAndRate(s *bench.Settings, cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&s.Pairs, "pairs", s.Pairs, "senders, each with a recipient of its own")
	f.Float64Var(&s.Rate, "rate", s.Rate, "messages a second, all pairs together")
}

func (a *app) burstCommand() *cobra.Command {
	return a.benchOf(bench.Burst, "Everybody sends everything at once",
		`Let --peers sessions send --messages each to the others in turn, all at once, and wait
until all are delivered or --timeout is over. As many as the broker had no room for
(queue_full, try_again) go out again; what its rate limit refused does not.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Peers, "peers", s.Peers, "sessions, each a sender and a recipient")
			f.IntVar(&s.Messages, "messages", s.Messages, "messages of each")
		})
}

func (a *app) fanoutCommand() *cobra.Command {
	return a.benchOf(bench.Fanout, "One message to many",
		`Send --messages, one after the other, to a group of --recipients sessions, and measure
when the first, the median and the last recipient have each.

What is sent to a group does not reach other sessions of its sender's member. So the sender
is a guest whom this member invites, for which it must be an admin of the mesh, and removes
at the end; or another member of the mesh, whose config directory --from names.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Recipients, "recipients", s.Recipients, "sessions in the group")
			f.IntVar(&s.Messages, "messages", s.Messages, "messages, one after the other")
			f.StringVar(&b.from, "from", "", "config directory of another member of the mesh, who sends")
		})
}

func (a *app) idleCommand() *cobra.Command {
	return a.benchOf(bench.Idle, "Sessions that do nothing, and what they cost",
		`Connect --sessions, hold them for --duration, and measure how fast they connected and how
much the broker's memory has grown for each, from before the first connection to the end of
the hold: what the process holds, and what of it is in use (Go's heap and stacks). The broker
should be fresh: one that has served sessions before gives these the memory of those. The
result says whether it was. --gc has it collect its garbage before both readings.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Sessions, "sessions", s.Sessions, "sessions")
			f.IntVar(&s.Parallel, "parallel", s.Parallel, "connects under way at once")
			timeVar(cmd, &s.Duration, "duration", "how long to hold them")
			f.BoolVar(&b.gc, "gc", false, "have the broker collect its garbage first, through Caddy's admin API at the host of --metrics")
		})
}

func (a *app) stormCommand() *cobra.Command {
	return a.benchOf(bench.Storm, "All connections drop and come back at once",
		`Connect --sessions, let some of them exchange messages, cut all connections at the same
moment, and measure how long it takes until all are back. What was under way must arrive.`,
		func(b *benchRun, cmd *cobra.Command) {
			s, f := &b.settings, cmd.Flags()
			f.IntVar(&s.Sessions, "sessions", s.Sessions, "sessions")
			pairsAndRate(s, cmd)
		})
}

func (a *app) soakCommand() *cobra.Command {
	return a.benchOf(bench.Soak, "A fixed rate for hours, and what drifts",
		`Send at a fixed rate as 'bench rate' does, for long, and print a line per --interval. At
the end the median of the last quarter's intervals is compared with that of the first.
Ctrl-C ends it early, with the figures so far.`,
		func(b *benchRun, cmd *cobra.Command) {
			s := &b.settings
			pairsAndRate(s, cmd)
			timeVar(cmd, &s.Duration, "duration", "how long to send")
			timeVar(cmd, &s.Interval, "interval", "what one line is about")
		})
}

// bench runs a bench and prints what it has found.
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

// benchVerdict says on standard error what was not as it must be.
func (a *app) benchVerdict(r *bench.Result) error {
	failed := r.Failed()
	for _, name := range failed {
		n, _ := r.Value(name)
		fmt.Fprintf(a.err, "claudemesh: %s: %s messages\n", benchLabel(name), benchValue(&n, ""))
	}
	if r.Interrupted {
		fmt.Fprintln(a.err, "claudemesh: interrupted: these are the figures so far")
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
		return peer.Mesh{}, usagef("--from must name another member than the one who receives")
	}
	sender := *from
	sender.BrokerURL = m.BrokerURL
	return sender, nil
}

// gauge returns where the broker's memory can be read, nil for nowhere.
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
			return nil, err
		}
		return nil, nil // nobody has said that there is something
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
