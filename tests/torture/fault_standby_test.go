package torture

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/claudemesh/claudemesh/internal/await"
	"github.com/claudemesh/claudemesh/internal/netns"
	"github.com/claudemesh/claudemesh/tests/internal/harness"
)

// brokers is a pair of brokers with one database, behind a load balancer.
type brokers struct {
	w              *world
	active, second *harness.Broker
}

// servePair starts two brokers and a load balancer, through which all peers connect.
func (w *world) servePair() *brokers {
	w.t.Helper()
	w.ledger.mayForget()
	own := commands
	own.Dir, own.Caddy = filepath.Dir(w.caddy), w.caddy
	p := &brokers{w: w, active: w.broker, second: harness.NewBroker(w.t, own, w.env...)}
	w.balance(nil, "balancer", "BROKERS", p.active, p.second)
	w.serve()
	p.second.Launch()
	return p
}

// balance runs one of the example load balancers, which takes the brokers from a variable, on a host.
func (w *world) balance(host *netns.Host, example, variable string, brokers ...*harness.Broker) {
	w.t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(w.t))
	if host != nil {
		address = host.Address + ":8080"
	}
	var addresses []string
	for _, b := range brokers {
		addresses = append(addresses, b.Address())
	}
	cmd := exec.Command(commands.Caddy, "run", "--config", filepath.Join(commands.Repo, "examples", "caddyfiles", example+".caddyfile"))
	home := harness.ShortTempDir(w.t)
	cmd.Env = append(harness.HomeEnv(home), "CADDY_ADMIN=unix/"+filepath.Join(home, "admin.sock"), "BALANCER_ADDRESS=http://"+address,
		variable+"="+strings.Join(addresses, " "))
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	w.check(host.Start(cmd))
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt) // fails if it has ended
		_ = cmd.Wait()
		if w.t.Failed() {
			w.t.Logf("log of the load balancer:\n%s", log.String()[max(0, log.Len()-8000):])
		}
	})
	w.url = "ws://" + address + "/ws"
}

// await waits until the second broker has taken over, and makes it the active one.
func (p *brokers) await() {
	p.w.t.Helper()
	p.second.AwaitReady()
	p.active, p.second = p.second, p.active
}

// handOver stops the active broker like an operator, for example for an upgrade, and starts it again
// as the second one.
func handOver(w *world) {
	p := w.servePair()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		p.active.Stop()
		p.await()
		p.second.Launch()
	})
}

// failToStandby kills the active broker.
func failToStandby(w *world) {
	p := w.servePair()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		p.active.Kill()
		p.await()
		p.second.Launch()
	})
}

// freezeActive freezes the active broker at an arbitrary moment, until the other one has taken over
// and has been busy for a while. Then the frozen broker continues and must notice the takeover.
func freezeActive(w *world) {
	p := w.servePair()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(int) {
		w.check(syscall.Kill(p.active.PID(), syscall.SIGSTOP))
		p.await()
		w.check(syscall.Kill(p.second.PID(), syscall.SIGCONT))
		await.Until(w.t, "the broker notices that another one has taken over", func() bool {
			status, answer := p.second.TryGet("/health/ready")
			return status == 503 && (strings.Contains(answer, "storage_in_use") || strings.Contains(answer, "starting"))
		})
	})
}

// pauses lists times around the length of a lease.
var pauses = []time.Duration{2900 * time.Millisecond, 3200 * time.Millisecond, time.Second, 4 * time.Second}

// freezeShortly freezes the active broker for slightly less or more than another one needs to take
// over.
func freezeShortly(w *world) {
	p := w.servePair()
	w.populate()
	w.load()
	w.repeatWithoutOne(func(n int) {
		w.check(syscall.Kill(p.active.PID(), syscall.SIGSTOP))
		w.hold(pauses[n%len(pauses)], pauses[n%len(pauses)])
		w.check(syscall.Kill(p.active.PID(), syscall.SIGCONT))
		w.eventually("one of the brokers is ready", func() bool {
			for range 2 {
				if status, _ := p.active.TryGet("/health/ready"); status == 200 {
					return true
				}
				p.active, p.second = p.second, p.active
			}
			return false
		})
	})
}
