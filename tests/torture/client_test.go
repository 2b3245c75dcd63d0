package torture

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/claudemesh/claudemesh/identity"
	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

// addClient adds a connected client of package peer: a session, or the member itself.
func (w *world) addClient(session bool) *peer.Client {
	w.t.Helper()
	name := fmt.Sprintf("client%d", len(w.parties)+1)
	p := w.newParty(name)
	p.client = ourClient
	o := peer.Options{
		Mesh:      w.join(peer.Dir(w.tempDir()), name),
		About:     peer.About{SessionID: "session-" + name, Cwd: "/home/" + name, Hostname: name, Channel: "torture"},
		OnMessage: func(_ context.Context, m peer.Incoming) error { p.opened(&m); return nil },
	}
	if session {
		var err error
		o.Session, err = identity.Generate()
		w.check(err)
	} else {
		p.shouted = name + "*" // broadcasts go to its presence, not to its key
	}
	client, err := peer.New(o)
	w.check(err)
	p.key = client.Pubkey().String()
	p.send = func(ctx context.Context, d draft) { p.sendWith(ctx, client, d) }
	w.actors.Go(func() {
		if err := client.Run(w.ctx); w.ctx.Err() == nil {
			p.fail("gave up: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	_, err = client.HelloAck(ctx)
	w.check(err)
	return client
}

// opened takes a message and checks that the client opened and verified it.
func (p *party) opened(m *peer.Incoming) {
	if text, _, _ := strings.Cut(string(m.Body), " "); m.Err != nil || text != m.ClientID {
		p.fail("%s says %q, sealing %s: %v", m.ClientID, text, m.Sealing, m.Err)
	}
	if m.Sealing != peer.NotEncrypted && !m.Verified {
		p.fail("%s is not verified: %s", m.ClientID, m.Doubt)
	}
	if time.Since(m.CreatedAt) > 2*time.Hour || time.Until(m.CreatedAt) > 2*time.Hour {
		p.fail("%s is from %s", m.ClientID, m.CreatedAt)
	}
	p.w.ledger.named(m.ClientID, m.MessageID, false)
	p.took(m.ClientID)
}

func (p *party) sendWith(ctx context.Context, client *peer.Client, d draft) {
	to, err := wire.ParseTarget(d.target)
	if err != nil {
		p.fail("%v", err)
		return
	}
	switch receipt, err := client.Send(ctx, peer.Outgoing{To: []wire.Target{to}, Body: []byte(d.text()), ClientID: d.id}); {
	case err == nil:
		p.w.ledger.named(d.id, receipt.MessageID, true)
		p.w.ledger.ack(d.id)
	case ctx.Err() == nil:
		p.fail("send %s: %v", d.id, err)
	}
}
