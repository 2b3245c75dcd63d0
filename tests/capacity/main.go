// Command capacity writes docs/capacity.md, which says how many nodes and databases a number of
// sessions needs.
//
//	go run ./tests/capacity
//
// It measures nothing. It reads figures from BENCHMARKS.md and constants from the code, and fails
// if it does not find one of them. The page lists its other assumptions.
package main

import (
	"bytes"
	_ "embed"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"text/template"
)

//go:embed capacity.md.tmpl
var page string

func main() {
	repository := flag.String("repository", ".", "the root of the repository")
	flag.Parse()
	text, err := render(*repository)
	if err == nil {
		err = os.WriteFile(filepath.Join(*repository, "docs", "capacity.md"), text, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "capacity:", err)
		os.Exit(1)
	}
}

// figures are what BENCHMARKS.md and the code state.
type figures struct {
	SessionKB float64 // resident, of an idle session, 10,000 in meshes of ten
	RelayedKB float64 // resident, of an idle session at the node that relays it
	OneMeshKB float64 // resident, of an idle session, 10,000 in one mesh
	Hellos    float64 // a second, of sessions in meshes of ten
	JoinsOne  float64 // a second, of 10,000 sessions in one mesh
	Claims    float64 // of meshes, a second, by three nodes with database and load on one machine
	BrokerUS  float64 // processor time of the broker for a message
	RelayUS   float64 // processor time of a bare relay for a message
	StorageUS float64 // processor time of Postgres for a message
	Durable   float64 // messages a second, with broker, Postgres and load on one machine
	Queries   float64 // for a message under load
	FanOutMS  float64 // until the last of 1,000 peers has a message

	Pool   float64 // connections of a node's pool to Postgres, at most
	LeaseS float64 // until the lease of a dead node ends, in seconds, at most
	ReapMS float64 // between two searches for dead nodes, in milliseconds
	Limit  float64 // sessions in a mesh, unless an option says otherwise
}

// number finds a number in a file of the repository: the first group of a pattern.
func number(repository, file, pattern string) (float64, error) {
	text, err := os.ReadFile(filepath.Join(repository, file))
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)` + pattern).FindSubmatch(text)
	if found == nil {
		return 0, fmt.Errorf("%s has nothing like %s", file, pattern)
	}
	return strconv.ParseFloat(strings.NewReplacer(",", "", "_", "").Replace(string(found[1])), 64)
}

func readFigures(repository string) (f figures, err error) {
	const n = `([\d.,]+)(?: \([\d.,]+–[\d.,]+\))?` // a median, and perhaps the minimum and maximum
	var together, load, relay, relayLoad float64
	for _, from := range []struct {
		to            *float64
		file, pattern string
	}{
		{&f.SessionKB, "BENCHMARKS.md", `^\| many meshes \| 10000 \|[^|]*\|[^|]*\|[^|]*\| ` + n + ` \|`},
		{&f.RelayedKB, "BENCHMARKS.md", `^\| … resident memory of an idle session at the node that relays it \| postgres \|[^|]*\| ` + n + ` kB`},
		{&f.OneMeshKB, "BENCHMARKS.md", `^\| one mesh \| 10000 \|[^|]*\|[^|]*\|[^|]*\| ` + n + ` \|`},
		{&f.Hellos, "BENCHMARKS.md", `^\| many meshes \| 10000 \|[^|]*\|[^|]*\|[^|]*\|[^|]*\| ` + n + ` \|`},
		{&f.JoinsOne, "BENCHMARKS.md", `^\| 10,000 sessions join one mesh \| postgres \|[^|]*\| ` + n + `/s`},
		{&f.Claims, "BENCHMARKS.md", `^\| 1,000 meshes over three nodes[^|]*\| postgres \|[^|]*\|[^|]*\| meshes claimed ` + n + `/s`},
		{&f.StorageUS, "BENCHMARKS.md", `^\| Postgres's processes \| ` + n + ` \|`},
		{&load, "BENCHMARKS.md", `^\| the load generator \| ` + n + ` \|`},
		{&relayLoad, "BENCHMARKS.md", `^\| the load generator \|[^|]*\|[^|]*\| ` + n + ` \|`},
		{&together, "BENCHMARKS.md", `^\| together \| ` + n + ` \|`},
		{&relay, "BENCHMARKS.md", `^\| together \|[^|]*\|[^|]*\| ` + n + ` \|`},
		{&f.Durable, "BENCHMARKS.md", `^\| durable direct messages, 50 pairs \| postgres \|[^|]*\| ` + n + `/s`},
		{&f.Queries, "BENCHMARKS.md", `^\| queries per message under load \| postgres \|[^|]*\| ` + n + `[ (]`},
		{&f.FanOutMS, "BENCHMARKS.md", `^\| broadcast to 1,000 peers: last recipient, p50 \| postgres \|[^|]*\| ` + n + ` ms`},
		{&f.Pool, "storage/postgres/connect.go", `^\tpoolSize = (\d+)$`},
		{&f.LeaseS, "storage/postgres/lease.go", `^\tleaseTime = (\d+) \* time\.Second$`},
		{&f.ReapMS, "storage/postgres/owners.go", `^const reapEvery = (\d+) \* time\.Millisecond$`},
		{&f.Limit, "Caddyfile", `\{\$MAX_CONNECTIONS_PER_MESH:(\d+)\}`},
	} {
		if *from.to, err = number(repository, from.file, from.pattern); err != nil {
			return f, err
		}
	}
	f.BrokerUS, f.RelayUS = together-load-f.StorageUS, relay-relayLoad
	return f, nil
}

// These are assumptions, as the page says.
const (
	perMesh    = 10.0 // sessions in a mesh, as in BENCHMARKS.md
	perMinute  = 1.0  // messages of a session
	nodeGB     = 8.0  // of a node's memory, for sessions
	nodeCores  = 2.0  // of a node, as those of the machine of BENCHMARKS.md
	busy       = 0.5  // the part of the cores and of a database's rate that is used
	leastNodes = 3.0

	maxConnections = 97.0 // that Postgres admits unless it is configured: 100, and three of them for superusers
)

// These are properties of the code; see the page.
const (
	idleQueries  = 4.0  // a second and node: a renewal, two looks for dead nodes, one look at the list of nodes
	claimQueries = 17.0 // of a mesh that another node had, at most
	beyondPool   = 2.0  // connections of a node outside of its pool: for its lease, and for /health/ready

	commitsPerMessage = 2.0 // at most, if it has one recipient: it is stored, and then its acknowledgement
)

// row is what a number of sessions needs.
type row struct {
	Sessions, Meshes, Databases, Nodes float64
	NodeGB                             float64 // of each node's memory, for sessions
	Messages                           float64 // a second
	Cores                              float64 // of all nodes, for messages
	StorageCores                       float64 // of all databases, for messages
	Commits                            float64 // a second to each database, at most
	Daily                              float64 // messages of a day, in each database
	Connections                        float64 // to each database
	Idle                               float64 // queries a second to each database, without any message
	Counted                            float64 // entries of an index that these queries count, a second and database
}

func (f *figures) need(sessions float64) row {
	r := row{Sessions: sessions, Meshes: sessions / perMesh, Messages: sessions * perMinute / 60}
	r.Cores = r.Messages * (f.BrokerUS + f.RelayUS) / 1e6
	r.StorageCores = r.Messages * f.StorageUS / 1e6
	r.Databases = math.Ceil(r.Messages / (busy * f.Durable))
	byMemory := f.sessionsGB(sessions) / nodeGB
	byCores := r.Cores / (busy * nodeCores)
	// Each database has a cluster of its own.
	each := max(leastNodes, math.Ceil(max(byMemory, byCores)/r.Databases))
	r.Nodes = each * r.Databases
	r.NodeGB = f.sessionsGB(sessions) / r.Nodes
	r.Commits = r.Messages / r.Databases * commitsPerMessage
	r.Daily = r.Messages / r.Databases * 24 * 60 * 60
	r.Connections = each * (f.Pool + beyondPool)
	r.Idle = each * idleQueries
	r.Counted = each * r.Meshes / r.Databases
	return r
}

// sessionsGB is the memory of sessions, if each is relayed.
func (f *figures) sessionsGB(sessions float64) float64 {
	return sessions * (f.SessionKB + f.RelayedKB) / 1e6
}

// loss is what happens when nodes fail together.
type loss struct {
	Sessions, Meshes, Nodes, Failed float64
	Claimed                         float64 // meshes that get a new owner
	Hellos                          float64 // sockets that were on a failed node, or relayed to one
	HelloS                          float64 // until the others have taken them, at the measured rate
	Statements                      float64 // for the claims
	ClaimS                          float64 // until all are claimed, at the measured rate
	Free                            float64 // seconds until the meshes are free
}

func (f *figures) lose(sessions, nodes, failed float64) loss {
	part := failed / nodes
	l := loss{Sessions: sessions, Meshes: sessions / perMesh, Nodes: nodes, Failed: failed, Free: f.LeaseS + f.ReapMS/1000}
	l.Claimed = l.Meshes * part
	l.Hellos = sessions * (1 - (1-part)*(1-part))
	l.HelloS = l.Hellos / ((nodes - failed) * f.Hellos)
	l.Statements = l.Claimed * claimQueries
	l.ClaimS = l.Claimed / f.Claims
	return l
}

func render(repository string) ([]byte, error) {
	f, err := readFigures(repository)
	if err != nil {
		return nil, err
	}
	t, err := template.New("").Funcs(template.FuncMap{"n": write, "power": power}).Parse(page)
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	err = t.Execute(&text, map[string]any{
		"F": f, "Rows": []row{f.need(1e4), f.need(1e6), f.need(1e8)}, "Loss": f.lose(1e6, 64, 8), "Admitted": math.Floor(maxConnections / (f.Pool + beyondPool)),
		"PerMesh": perMesh, "PerMinute": perMinute, "NodeGB": nodeGB, "NodeCores": nodeCores, "Busy": 100 * busy, "LeastNodes": leastNodes,
		"ClaimQueries": claimQueries, "IdleQueries": idleQueries, "OneMeshGB": f.Limit * f.OneMeshKB / 1e6, "OneMeshS": f.Limit / f.JoinsOne,
	})
	return text.Bytes(), err
}

// write writes a number with three digits or more, in groups.
func write(f float64) string {
	if f != 0 && math.Abs(f) < 100 && f != math.Trunc(f) {
		return strconv.FormatFloat(f, 'g', 3, 64)
	}
	digits := strconv.FormatFloat(math.Round(f), 'f', 0, 64)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}

// power writes a power of ten.
func power(v float64) string {
	return "10" + strings.NewReplacer("0", "⁰", "1", "¹", "2", "²", "3", "³", "4", "⁴", "5", "⁵", "6", "⁶", "7", "⁷", "8", "⁸", "9", "⁹").
		Replace(strconv.Itoa(int(math.Round(math.Log10(v)))))
}
