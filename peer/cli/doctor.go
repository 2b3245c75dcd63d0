package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/internal/netfs"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/peer/disk"
	"github.com/claudemesh/claudemesh/peer/inbox"
	"github.com/claudemesh/claudemesh/wire"
)

// maxSkew is what brokers allow, less a second for measuring by the Date header.
const maxSkew = identity.MaxSkew - time.Second

// roundTripTimeout bounds the whole round trip.
const roundTripTimeout = 20 * time.Second

// finding is the outcome of one check.
type finding struct {
	Check   string `json:"check"`
	OK      bool   `json:"ok"`
	Skipped bool   `json:"skipped,omitempty"` // because an earlier one failed, or, if OK, there was no need
	Detail  string `json:"detail"`
}

// notTried is a check that there was no need for, and why.
type notTried string

func (n notTried) Error() string { return string(n) }

// doctor runs checks, each of which needs those before it.
type doctor struct {
	*app
	findings []finding
	mesh     peer.Mesh
}

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		SuggestFor: []string{"diagnose", "check"},
		Use:        "doctor", Short: "Check that everything works, and say what does not", Args: cobra.NoArgs,
		Annotations: exits("0  all checks passed", "1  a check failed", exitsUsage),
		Example: `  claudemesh doctor
  claudemesh doctor --mesh team --json`,
		Long: `Check the files, Claude Code's settings, the broker, the clock, the membership and the
daemon. Send a sealed message through the broker and back, and one to a session that
exists for this test only: from the hook to the daemon, to the broker, into its context,
and the confirmation back. Exits with 1 if anything is wrong.
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
		{"round trip", d.roundTrip},
		{"daemon", d.daemon},
		{"sessions", d.sessions},
		{"delivery", d.delivery},
	}
	failed := false
	for _, c := range checks {
		if failed {
			d.findings = append(d.findings, finding{Check: c.name, Skipped: true, Detail: "not checked, because of the above"})
			continue
		}
		detail, err := c.run(ctx)
		var skipped notTried
		if errors.As(err, &skipped) {
			d.findings = append(d.findings, finding{Check: c.name, OK: true, Skipped: true, Detail: skipped.Error()})
			continue
		}
		if err != nil {
			detail = explain(disk.Unwritable(d.dir, err))
			// Whether storage is there, the clock is right or sessions read, the rest can be tried.
			failed = !slices.Contains([]string{"storage", "clock", "sessions"}, c.name)
		}
		d.findings = append(d.findings, finding{Check: c.name, OK: err == nil, Detail: detail})
	}
}

// files looks at the directory, which is on a network file system of a kind; "": on none.
func (d *doctor) files(kind string) {
	f := finding{Check: "files", OK: true, Detail: string(d.dir) + " is open to nobody else"}
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
		return "", fmt.Errorf("the key of the mesh %s is missing in the config file; join again with a new invite", m.Slug)
	}
	return fmt.Sprintf("%s, with the member key %s…", m.Slug, m.Member.Public().Short()), nil
}

func (d *doctor) broker(ctx context.Context) (string, error) {
	health, _, err := peer.HTTP{BrokerURL: d.mesh.BrokerURL}.Health(ctx)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s answers (version %s)%s", d.mesh.BrokerURL, health.Version, hiding(d.mesh.BrokerURL, health.Client)), nil
}

// hiding says so when the broker does not see who asks: somebody who reaches it over a
// network comes from its own machine.
func hiding(brokerURL, client string) string {
	addr, err := netip.ParseAddr(client)
	if err != nil || !addr.IsLoopback() || isLoopback(brokerURL) {
		return ""
	}
	return "; to it, everybody comes from " + client + ", which is a proxy's address or yours: if others see the same, " +
		"its operator should name the proxy in trusted_proxies and not create meshes by loopback (docs/operating.md: Behind a proxy)"
}

func (d *doctor) storage(ctx context.Context) (string, error) {
	err := peer.HTTP{BrokerURL: d.mesh.BrokerURL}.Ready(ctx)
	var refused *peer.HTTPError
	switch {
	case err == nil:
		return "the broker's storage is ready", nil
	case errors.As(err, &refused) && reasons[refused.Message] != "":
		return "", errors.New("the broker can't take messages: " + reasons[refused.Message] + "; its log says more")
	}
	return "", errors.New("the broker can't take messages: " + explain(err))
}

// reasons say why a broker is not ready, by its words for them (SPEC.md section 11).
var reasons = map[string]string{
	"starting":            "it is starting",
	"shutting_down":       "it is shutting down",
	"storage_unreachable": "its database can't be reached",
	"storage_no_answer":   "its database does not answer in time",
	"storage_read_only":   "its database is read-only",
	"storage_full":        "the disk of its database is full",
	"storage_refused":     "its database does not let it in, or not write",
	"storage_in_use":      "another broker uses its database",
	"storage_suspended":   "its lease of the database has run out",
	"storage_unfit":       "the pooler in front of its database is of no use to it",
	"storage_failed":      "its database fails",
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
	client, err := d.dial(ctx, d.visitor(d.mesh))
	if err != nil {
		return "", err
	}
	defer client.Close()
	ack, err := client.HelloAck(ctx)
	if err != nil {
		return "", err
	}
	return "the broker knows you as " + ack.MemberDisplayName, nil
}

// roundTrip sends a sealed message from a connection of the member to a session
// of its own and waits for it there. A session of its own, because what goes to
// the member key may go to any other connection of the member. What else arrives
// meanwhile is kept in the inbox.
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
		return "", errors.New("the broker took a message but did not deliver it in time")
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
