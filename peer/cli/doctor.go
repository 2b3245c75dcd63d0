package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/audit"
	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/netfs"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/checkpoints"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

// maxSkew is the clock skew that brokers allow, minus a second, because the Date header that
// measures it is that coarse.
const maxSkew = identity.MaxSkew - time.Second

// roundTripTimeout bounds the whole round trip.
const roundTripTimeout = 20 * time.Second

// finding is the outcome of one check.
type finding struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"` // an earlier check failed or, if OK, the check wasn't needed
	Detail  string `json:"detail"`
}

// notTried is the error of a check that wasn't needed. It says why.
type notTried string

func (n notTried) Error() string { return string(n) }

// doctor runs checks. Each check needs the ones before it.
type doctor struct {
	*app
	findings []finding
	mesh     peer.Mesh

	kept  checkpoints.Record // of the audit log, after the check of the membership
	shown *audit.Comparison  // nil if the broker shows no checkpoints
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		SuggestFor: []string{"diagnose", "check"},
		Use:        "doctor", Short: "Check that everything works, and say what doesn't", Args: cobra.NoArgs,
		Annotations: exits("0  all checks passed", "1  a check failed", exitsUsage, exitsBroken),
		Example: `  claudemesh doctor
  claudemesh doctor --mesh team --json`,
		Long: `Check the files, Claude Code's settings, the broker, your clock, your membership and the
daemon. Then send a sealed message through the broker and back, and another one to a
session that exists only for this test: through hook, daemon and broker into the session's
context, and its receipt back to the sender. The exit code is 1 if anything is wrong.
--json: an array of {check, ok, skipped, detail}.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			d := &doctor{app: a}
			d.examine(cmd.Context())
			return d.report(asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (d *doctor) examine(ctx context.Context) {
	w := d.waiting("checking the files and Claude Code's settings")
	defer w.done()
	d.files(netfs.Kind(string(d.dir)))
	d.claudeCode()
	d.service()
	checks := []struct {
		name string
		run  func(context.Context) (string, error)
	}{
		{"mesh", d.joinedMesh},
		{"broker", d.broker},
		{"storage", d.storage},
		{"clock", d.clock},
		{"membership", d.membership},
		{"audit log", d.auditLog},
		{"round trip", d.roundTrip},
		{"daemon", d.daemon},
		{"sessions", d.sessions},
		{"delivery", d.delivery},
	}
	failed := false
	for _, c := range checks {
		if failed {
			d.findings = append(d.findings, finding{Check: c.name, Skipped: true, Detail: "not checked, because a check above failed"})
			continue
		}
		w.next("checking the " + c.name)
		detail, err := c.run(ctx)
		var skipped notTried
		if errors.As(err, &skipped) {
			d.findings = append(d.findings, finding{Check: c.name, OK: true, Skipped: true, Detail: skipped.Error()})
			continue
		}
		if err != nil {
			detail = explain(disk.Unwritable(d.dir, err))
			// The remaining checks can run even if one of these fails.
			failed = !slices.Contains([]string{"storage", "clock", "audit log", "sessions"}, c.name)
		}
		d.findings = append(d.findings, finding{Check: c.name, OK: err == nil, Detail: detail})
	}
}

// files checks the config directory. kind is the network file system that it is on, or "".
func (d *doctor) files(kind string) {
	f := finding{Check: "files", OK: true, Detail: "only you can read " + string(d.dir)}
	if warning := disk.NetworkFS(d.dir, kind); warning != "" {
		f.Detail += "; " + warning
	}
	changed, err := peer.RepairModes(d.dir)
	if err == nil {
		var keys []string
		keys, err = repairKeys(peer.SessionsRoot(d.dir))
		changed = append(changed, keys...)
	}
	for _, line := range changed {
		d.findings = append(d.findings, finding{Check: "files", Detail: line})
	}
	if err == nil {
		err = disk.Writable(d.dir)
	}
	if err != nil {
		d.findings = append(d.findings, finding{Check: "files", Detail: disk.Unwritable(d.dir, err).Error()})
	}
	if len(changed) == 0 && err == nil {
		d.findings = append(d.findings, f)
	}
}

func (d *doctor) joinedMesh(context.Context) (string, error) {
	m, err := d.joined()
	d.mesh = m
	if err != nil {
		return "", err
	}
	if m.Key.IsZero() {
		return "", fmt.Errorf("the config file has no key of the mesh %s; join again with a new invite", m.Slug)
	}
	return fmt.Sprintf("%s, with the member key %s…", m.Slug, m.Member.Public().Short()), nil
}

func (d *doctor) broker(ctx context.Context) (string, error) {
	health, _, err := peer.HTTP{BrokerURL: d.mesh.BrokerURL}.Health(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s answers (version %s)%s", d.mesh.BrokerURL, health.Version, proxyWarning(d.mesh.BrokerURL, health.Client)), nil
}

// proxyWarning warns if the broker sees a request from another machine as one from its own, which
// means that it takes a proxy for the client.
func proxyWarning(brokerURL, client string) string {
	addr, err := netip.ParseAddr(client)
	if err != nil || !addr.IsLoopback() || isLoopback(brokerURL) {
		return ""
	}
	return "; the broker sees you at " + client + ", which is probably the address of a proxy: if other members see the same, " +
		"the broker's operator should list the proxy in trusted_proxies and not let loopback create meshes (docs/operating.md: Behind a proxy)"
}

func (d *doctor) storage(ctx context.Context) (string, error) {
	err := peer.HTTP{BrokerURL: d.mesh.BrokerURL}.Ready(ctx)
	var refused *peer.HTTPError
	switch {
	case err == nil:
		return "the broker's storage is ready", nil
	case errors.As(err, &refused) && reasons[refused.Message] != "":
		return "", errors.New("the broker can't accept messages: " + reasons[refused.Message] + "; ask its operator to look at its log")
	}
	return "", errors.New("the broker can't accept messages: " + explain(err))
}

// reasons explains the codes that a broker gives for not being ready (SPEC.md section 11).
var reasons = map[string]string{
	"starting":            "it is starting",
	"shutting_down":       "it is shutting down",
	"storage_unreachable": "its database is unreachable",
	"storage_no_answer":   "its database does not answer in time",
	"storage_read_only":   "its database is read-only",
	"storage_full":        "the disk of its database is full",
	"storage_refused":     "its database denies it access, or denies it writing",
	"storage_in_use":      "another broker uses its database",
	"storage_set_back":    "its database was set back to an older state",
	"storage_suspended":   "its lease on the database has expired",
	"storage_unfit":       "the connection pooler in front of its database is in an unsupported mode",
	"storage_failed":      "its database reports an error",
	"cluster_address":     "the other nodes of its cluster can't reach it",
	"cluster_clock":       "its clock is wrong",
	"draining":            "its operator is taking it out of its cluster",
}

func (d *doctor) clock(ctx context.Context) (string, error) {
	_, skew, err := peer.HTTP{BrokerURL: d.mesh.BrokerURL}.Health(ctx)
	if err != nil {
		return "", err
	}
	if skew.Abs() > maxSkew {
		return "", &peer.HelloError{Code: wire.CodeTimestampSkew, Skew: skew}
	}
	return fmt.Sprintf("within %s of the broker's", max(skew.Abs(), time.Second)), nil
}

func (d *doctor) membership(ctx context.Context) (string, error) {
	o := d.visitor(d.mesh)
	witness := d.witness(d.mesh)
	if witness != nil {
		o.Checkpoints = witness
	}
	client, err := d.dial(ctx, o)
	if err != nil {
		return "", err
	}
	defer client.Close()
	if witness != nil {
		_, d.shown = witness.Last()
		d.kept = witness.Record()
	}
	ack, err := client.HelloAck(ctx)
	if err != nil {
		return "", err
	}
	return "the broker knows you as " + ack.MemberDisplayName, nil
}

// auditLog tells what the check of the membership has found out about the audit log.
func (d *doctor) auditLog(context.Context) (string, error) {
	switch {
	case d.kept.Doubt != nil:
		return "", errors.New(checkpoints.Text(&d.kept.Doubt.Comparison) + "\n" + checkpoints.Notes(&d.kept.Doubt.Comparison))
	case d.shown == nil:
		return "", notTried("the broker shows no checkpoints of its audit log")
	case !d.shown.Outcome.OK():
		return "", errors.New(checkpoints.Text(d.shown))
	case d.kept.Restored != nil:
		return checkpoints.Text(d.shown) + "; earlier, " + checkpoints.Text(&d.kept.Restored.Comparison), nil
	}
	return checkpoints.Text(d.shown), nil
}

// roundTrip sends a sealed message from the member to a session of this check and waits for
// it there. The check needs its own session, because a message to the member key may go to
// any other connection of the member. Other messages that arrive go to the inbox.
func (d *doctor) roundTrip(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTripTimeout)
	defer cancel()
	store, err := inbox.Open(ctx, d.dir)
	if err != nil {
		return "", err
	}
	defer store.Close()
	session, err := identity.Generate()
	if err != nil {
		return "", err
	}
	marker := "claudemesh doctor " + session.Public().Short()
	arrived := make(chan peer.Incoming, 1)
	receiver, err := d.dial(ctx, peer.Options{
		Mesh: d.mesh, Session: session, About: d.about(), OneShot: true,
		OnMessage: func(ctx context.Context, m peer.Incoming) error {
			if m.Sender != d.mesh.Member.Public() || m.Sealing != peer.Direct || string(m.Body) != marker {
				_, err := store.Add(ctx, inbox.Mailbox{MeshID: d.mesh.MeshID}, &m, time.Now())
				return err
			}
			select {
			case arrived <- m:
			default:
			}
			return nil
		},
	})
	if err != nil {
		return "", fmt.Errorf("open a session: %w", err)
	}
	defer receiver.Close()
	sender, err := d.dial(ctx, d.visitor(d.mesh))
	if err != nil {
		return "", err
	}
	defer sender.Close()

	start := time.Now()
	_, err = sender.Send(ctx, peer.Outgoing{
		To: []wire.Target{{Kind: wire.TargetKey, Key: session.Public()}}, Body: []byte(marker), Priority: wire.Now,
	})
	if err != nil {
		return "", err
	}
	select {
	case <-arrived:
		return fmt.Sprintf("a sealed message came back in %s", time.Since(start).Round(100*time.Microsecond)), nil
	case <-ctx.Done():
		return "", fmt.Errorf("the broker accepted a message but did not deliver it within %s; ask its operator to look at its log", roundTripTimeout)
	}
}

func (d *doctor) report(asJSON bool) error {
	bad := 0
	for _, f := range d.findings {
		if !f.OK {
			bad++
		}
	}
	if asJSON {
		if err := d.printJSON(d.findings); err != nil {
			return err
		}
	} else {
		for _, f := range d.findings {
			mark := d.paint(green, "✓")
			if f.Skipped {
				mark = d.paint(dim, "-")
			} else if !f.OK {
				mark = d.paint(red, "✗")
			}
			if _, err := fmt.Fprintf(d.out, "%s %-11s %s\n", mark, f.Check, printable(copyable(f.Detail))); err != nil {
				return err
			}
		}
	}
	if bad > 0 {
		return errReported
	}
	return nil
}
