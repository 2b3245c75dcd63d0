package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// repository is the root of the repository, relative to the module's directory, from which the
// program runs.
const repository = "../.."

// options holds the flags of the command line.
type options struct {
	quick  bool
	rounds int
	only   string
	out    string
	save   string
	render string
}

func main() {
	if play() {
		return
	}
	var o options
	flag.BoolVar(&o.quick, "quick", false, "run one short round of everything, to try it out; the figures mean little")
	flag.IntVar(&o.rounds, "rounds", 5, "number of rounds; some probes run in fewer")
	flag.StringVar(&o.only, "only", "", "comma-separated names of probes; default: all")
	flag.StringVar(&o.out, "out", "", "directory for BENCHMARKS.md and docs/bench-*.svg; default: the repository; a partial or quick run prints the text instead")
	flag.StringVar(&o.save, "save", "", "write the results as JSON to this file")
	flag.StringVar(&o.render, "render", "", "write the report from this file of saved results, without measuring")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "go run . [flags]: measure the broker, compare it with its upper bounds and write BENCHMARKS.md\n\nProbes:")
		for _, p := range probes {
			fmt.Fprintf(os.Stderr, "  %-12s%s\n", p.name, p.about)
		}
		fmt.Fprintln(os.Stderr, "\nFlags:")
		flag.PrintDefaults()
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, &o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o *options, out, log io.Writer) error {
	r, err := o.results(ctx, log)
	if err != nil {
		return err
	}
	if o.save != "" { // save partial results, too
		if err := r.save(o.save); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted; no report written")
	case len(r.Series) == 0: // don't replace a good report
		return fmt.Errorf("nothing was measured; no report written: %s", cmp.Or(strings.Join(r.Problems["runner"], "; "), "every probe failed"))
	case o.out != "":
		err = r.write(o.out)
	case r.whole() && !r.Quick:
		err = r.write(repository)
	default:
		err = r.report(out)
	}
	if err == nil && len(r.Problems) > 0 {
		err = errors.New("some measurements failed or messages were lost; see Problems in the report")
	}
	return err
}

// results measures, or reads saved results.
func (o *options) results(ctx context.Context, log io.Writer) (*results, error) {
	if o.render != "" {
		return loadResults(o.render)
	}
	chosen, err := choose(o.only)
	if err != nil {
		return nil, err
	}
	if err := raiseFileLimit(); err != nil {
		return nil, err
	}
	l := &lab{quick: o.quick, log: log, results: newResults()}
	l.Quick, l.Rounds = o.quick, max(1, o.rounds)
	if o.quick {
		l.Rounds = 1
	}
	problems := perform(ctx, func(s *stage) {
		l.setUp(s, repository)
		l.takeTurns(s, chosen)
	})
	l.trouble("runner", problems)
	return l.results, nil
}

// choose finds probes by their names.
func choose(names string) ([]probe, error) {
	if names == "" {
		return probes, nil
	}
	var chosen []probe
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(probes, func(p probe) bool { return p.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("unknown probe %q", name)
		}
		chosen = append(chosen, probes[i])
	}
	return chosen, nil
}

// takeTurns runs the probes, round after round.
func (l *lab) takeTurns(s *stage, chosen []probe) {
	for round := 1; round <= l.Rounds; round++ {
		for _, p := range chosen {
			if p.rounds > 0 && round > p.rounds || s.ctx.Err() != nil {
				continue
			}
			start := time.Now()
			known := len(l.Problems[p.name])
			l.trouble(p.name, perform(s.ctx, func(s *stage) { p.run(l, s) }))
			l.say("round %d of %d: %s, %.0f s", round, l.Rounds, p.name, time.Since(start).Seconds())
			for _, problem := range l.Problems[p.name][known:] {
				l.say("  %s", problem)
			}
		}
	}
}

// raiseFileLimit raises the limit of open files of this process and its children to the maximum.
// Go raises the limit only for the process itself; an explicit Setrlimit makes the children
// inherit it.
func raiseFileLimit() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	const needed = 12_000 // 10,000 sessions and other files
	if limit.Max < needed {
		return fmt.Errorf("the limit of open files is %d, but %d are needed: raise it with ulimit -Hn", limit.Max, needed)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}

// write writes the report and its plots below a directory.
func (r *results) write(dir string) error {
	docs := filepath.Join(dir, "docs")
	if err := os.MkdirAll(docs, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, "BENCHMARKS.md"))
	if err != nil {
		return err
	}
	err = r.report(f)
	return errors.Join(err, f.Close(), r.plot(docs))
}
