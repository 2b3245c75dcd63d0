package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/pprof/profile"
	"github.com/jackc/pgx/v5"

	"github.com/claudemesh/claudemesh/peer/bench"
)

// part is a purpose that processor time is spent on, identified by functions.
type part struct {
	name string
	// functions holds prefixes of the functions' names, without the package path.
	functions []string
}

// parts divides a profile: a sample belongs to the first part that has a function on the
// sample's stack. So callers come after the functions that they call.
var parts = []part{
	{"garbage collection", []string{"runtime.gcBgMarkWorker", "runtime.gcAssistAlloc", "runtime.gcStart", "runtime.bgsweep",
		"runtime.bgscavenge", "runtime.(*mheap).reclaim", "runtime.(*mcentral).cacheSpan", "runtime.deductSweepCredit"}},
	{"hashing the audit log", []string{"audit."}},
	{"the commit", []string{"postgres.", "sqlite.", "sql.", "pgconn."}},
	{"writing to sockets", []string{"broker.(*outbox).send", "broker.(*socket).flush", "websocket.(*Conn).Write"}},
	{"reading from sockets", []string{"websocket.(*Conn).Reader", "websocket.(*msgReader)", "bytes.(*Buffer).ReadFrom"}},
	{"parsing frames", []string{"wire.ParseFrame", "wire.Decode"}},
	{"encoding pushes and acks", []string{"queue.encode", "wire.(*Ack).AppendJSON", "json.Marshal"}},
	{"the queue and the journal", []string{"queue.", "journal."}},
	{"limits, routing, the outbox", []string{"broker."}},
	{"scheduling goroutines", []string{"runtime.schedule", "runtime.mcall", "runtime.findRunnable", "runtime.sysmon", "runtime.mstart"}},
}

// The parts that aren't in parts.
const (
	partRest     = "everything else"
	partDatabase = "Postgres's processes"
	partLoad     = "the load generator"
)

// serverParts returns the names of the parts of a profile.
func serverParts() []string {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	return append(names, partRest)
}

// partNames returns the names of all parts, in the order of the report.
func partNames() []string { return append(serverParts(), partDatabase, partLoad) }

// partOf returns the part of a sample.
func partOf(sample *profile.Sample) string {
	for i := range parts {
		for _, location := range sample.Location {
			for _, line := range location.Line {
				if line.Function != nil && parts[i].has(line.Function.Name) {
					return parts[i].name
				}
			}
		}
	}
	return partRest
}

func (p *part) has(function string) bool {
	function = function[strings.LastIndexByte(function, '/')+1:]
	for _, beginning := range p.functions {
		if strings.HasPrefix(function, beginning) {
			return true
		}
	}
	return false
}

// profiling starts a profile of a Caddy for the given time. shares waits for it and returns the
// parts' shares.
func profiling(s *stage, admin string, length time.Duration) (shares func() map[string]float64) {
	ctx, stop := context.WithCancel(s.ctx)
	var text bytes.Buffer
	var err error
	var task sync.WaitGroup
	task.Go(func() {
		err = get(ctx, fmt.Sprintf("%s/debug/pprof/profile?seconds=%d", admin, max(1, int(length.Seconds()))), &text)
	})
	s.Cleanup(func() {
		stop()
		task.Wait()
	})
	return func() map[string]float64 {
		task.Wait()
		s.check("profile the server", err)
		p, err := profile.Parse(&text)
		s.check("read the server's profile", err)
		shares := sharesOf(p)
		if len(shares) == 0 {
			s.Fatal("the server's profile is empty")
		}
		return shares
	}
}

// sharesOf returns the share of each part in a profile. A part without a sample is missing.
func sharesOf(p *profile.Profile) map[string]float64 {
	shares, sum := map[string]float64{}, 0.0
	for _, sample := range p.Sample {
		time := float64(sample.Value[len(sample.Value)-1])
		shares[partOf(sample)] += time
		sum += time
	}
	for name := range shares {
		shares[name] /= sum
	}
	return shares
}

// spent records the cost of a message in a run, in µs of processor time: of the server, by
// parts, of the database's processes, and of the load generator.
func (l *lab) spent(s *stage, of string, r *bench.Result, shares func() map[string]float64, server, database time.Duration) {
	messages, _ := r.Value("delivered")
	rate, _ := r.Value("messages_per_second")
	load, known := r.Value("load_cpu") // % of a core
	if messages == 0 || rate == 0 || !known {
		s.Fatal("nothing was delivered")
	}
	micros := float64(server.Microseconds()) / messages
	found := shares()
	l.add(series("throughput/cpu", of), micros)
	for _, name := range serverParts() {
		l.add(costSeries(name, of), found[name]*micros) // 0 counts, too
	}
	if of == postgresDB {
		l.add(costSeries(partDatabase, of), float64(database.Microseconds())/messages)
	}
	l.add(costSeries(partLoad, of), load/100*1e6/rate)
}

func costSeries(part, of string) string { return series("cost", part, of) }

// databaseTime returns the processor time of Postgres's processes, both running and ended.
func (l *lab) databaseTime(s *stage) time.Duration {
	conn, err := pgx.Connect(s.ctx, l.dsn(s, ""))
	s.check("connect to Postgres", err)
	defer conn.Close(context.WithoutCancel(s.ctx))
	rows, err := conn.Query(s.ctx, `SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()`)
	s.check("ask Postgres for its processes", err)
	pids, err := pgx.CollectRows(rows, pgx.RowTo[int])
	s.check("ask Postgres for its processes", err)
	const ownTime, childrenTime = 11, 13 // fields of /proc/<pid>/stat after the name; each is followed by system time
	sum, parent := time.Duration(0), 0
	for _, pid := range pids {
		if fields := processFields(pid); fields != nil { // else it has just ended
			sum += ticks(fields[ownTime:])
			parent, _ = strconv.Atoi(fields[1])
		}
	}
	if parent == 0 {
		s.Fatal("none of Postgres's processes is on this machine")
	}
	if fields := processFields(parent); fields != nil {
		sum += ticks(fields[ownTime:]) + ticks(fields[childrenTime:])
	}
	return sum
}

// processFields returns the fields of /proc/<pid>/stat after the name, nil if the process has
// ended.
func processFields(pid int) []string {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	if fields := strings.Fields(rest); len(fields) > 15 {
		return fields
	}
	return nil
}

// ticks adds user and system time.
func ticks(fields []string) (d time.Duration) {
	for _, f := range fields[:2] {
		n, _ := strconv.ParseInt(f, 10, 64)
		d += time.Duration(n) * (time.Second / 100) // the kernel reports ticks of 10 ms
	}
	return d
}
