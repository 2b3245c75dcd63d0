package simulation

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"slices"
	"time"

	"github.com/claudemesh/claudemesh/wire"
)

// guest is a session and its user.
type guest struct {
	*peer
	crowd *crowd
	line  *link
	edge  *site // the node that took the connection
	owner *site // the node that serves it
	here  bool  // it has received a hello_ack over the line

	sent  []letter
	acked int // how many of them are acknowledged
	asked int // how often the next one was sent

	got   map[string]int // how often each letter came, by its id
	order map[*guest]int // how many letters came from each guest

}

// letter is a message of a guest.
type letter struct {
	id string
	to *guest
}

// live keeps a guest connected.
func (g *guest) live() {
	w := g.crowd
	for n := 0; ; n++ {
		w.mu.Lock()
		over := w.over
		w.mu.Unlock()
		if over {
			return
		}
		if line := g.dial(n); line != nil {
			g.read(line)
			w.mu.Lock()
			if stands(g.edge, g.owner) {
				w.strays = append(w.strays, stray{line, g.edge, g.owner})
			}
			g.line, g.here = nil, false
			w.mu.Unlock()
		}
		time.Sleep(time.Duration(20+w.luck(g.name, "again", n)%400) * time.Millisecond)
	}
}

// dial connects to one of the nodes, which relays the line to the owner of the mesh.
func (g *guest) dial(n int) *link {
	w := g.crowd
	w.mu.Lock()
	edge := w.sites[w.luck(g.name, "edge", n)%uint64(len(w.sites))]
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	for {
		changed := edge.owners.Watch()
		owner, _, err := edge.owners.Owner(ctx, g.member.mesh)
		if err == nil {
			return g.relay(edge, owner.ID)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		case <-edge.session.died:
			return nil
		}
	}
}

func (g *guest) relay(edge *site, owner int64) *link {
	w := g.crowd
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.sites, func(s *site) bool { return s.id == owner && !s.gone })
	if i < 0 || edge.gone || w.over || w.parted[pair(edge.id, owner)] || stands(edge, w.sites[i]) {
		edge.owners.Forget(g.member.mesh)
		return nil
	}
	line := newLink()
	if err := w.sites[i].broker.ServeWebSocket(upgrade{make(map[string][]string), line}, upgradeRequest(), g.addr); err != nil {
		return nil
	}
	g.line, g.edge, g.owner = line, edge, w.sites[i]
	g.write(g.helloMessage(time.Now()))
	return line
}

func pair(a, b int64) [2]int64 { return [2]int64{min(a, b), max(a, b)} }

func (g *guest) write(message map[string]any) {
	data, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	g.line.write(encodeFrame(opText, data))
}

func (g *guest) read(line *link) {
	r := &counter{from: bufio.NewReaderSize(line, 1<<10)}
	for {
		op, payload, err := decodeFrame(r)
		if err != nil {
			return
		}
		switch op {
		case opPing:
			line.write(encodeFrame(opPong, payload))
		case opClose:
			line.write(encodeFrame(opClose, payload[:min(2, len(payload))]))
			return
		case opText:
			g.receive(payload, line.isLate(r.n))
		}
	}
}

// counter counts the bytes that were read.
type counter struct {
	from io.Reader
	n    int
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += n
	return n, err
}

// receive handles a frame from the broker. late reports whether the broker may have lost the mesh
// after it had decided to write the frame.
func (g *guest) receive(data []byte, late bool) {
	var f struct {
		Type, Subtype, ID, Error string
		MessageID                string `json:"messageId"`
		ClientID                 string `json:"client_message_id"`
		Queued                   bool
	}
	w := g.crowd
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := json.Unmarshal(data, &f); err != nil {
		w.violateLocked("11: %s got %q", g.name, data)
		return
	}
	switch {
	case f.Type == wire.TypeHelloAck:
		g.speaksLocked("let in", late)
		g.here, g.asked = true, 0
		g.sendLocked()
	case f.Type == wire.TypeAck && g.acked < len(g.sent) && f.ID == g.sent[g.acked].id:
		if !f.Queued || f.Error != "" {
			time.AfterFunc(time.Second, func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				g.sendLocked()
			})
			return
		}
		g.acked++
		g.asked = 0
		g.sendLocked()
	case f.Type == wire.TypePush && f.Subtype != wire.SubtypeSystem:
		g.speaksLocked("sent a message to", late)
		g.got[f.ClientID]++
		if g.got[f.ClientID] == 1 {
			g.inOrderLocked(f.ClientID)
		}
		if w.luck(g.name, f.ClientID, g.got[f.ClientID])%8 > 0 {
			g.write(map[string]any{"type": wire.TypeClientAck, "brokerMessageId": f.MessageID, "clientMessageId": f.ClientID})
		}
	}
}

// inOrderLocked checks that a letter that comes for the first time is the next one of its sender.
func (g *guest) inOrderLocked(id string) {
	for _, from := range g.crowd.guests {
		n := 0
		for _, l := range from.sent {
			if l.to != g {
				continue
			}
			if l.id == id {
				if n != g.order[from] {
					g.crowd.violateLocked("2: %s came to %s as number %d; want number %d", id, g.name, g.order[from], n)
				}
				g.order[from]++
				return
			}
			n++
		}
	}
	g.crowd.violateLocked("2: %s came to %s, but nobody has sent it", id, g.name)
}

// speaksLocked checks that the owner of the mesh has sent what comes over the line.
func (g *guest) speaksLocked(what string, late bool) {
	d := g.crowd.server.disk
	d.mu.Lock()
	owner := d.registry.owners[g.member.mesh].node
	stolen := d.registry.stolen[theft{g.member.mesh, g.owner.id}]
	robbed := time.Now().Before(d.registry.robbed[g.owner.id])
	d.mu.Unlock()
	if owner != g.owner.id && !stolen && !robbed && !late {
		g.crowd.violateLocked("5: node %d has %s %s, but the mesh belongs to node %d", g.owner.id, what, g.name, owner)
	}
}

// sendLocked sends the messages that are not acknowledged yet.
func (g *guest) sendLocked() {
	if !g.here || g.acked == len(g.sent) || g.line == nil {
		return
	}
	l := g.sent[g.acked]
	g.asked++
	g.write(map[string]any{"type": wire.TypeSend, "id": l.id, "client_message_id": l.id, "targetSpec": l.to.keys.Public().String(),
		"priority": string(wire.Now), "nonce": "bm9uY2U=", "ciphertext": "Ym9keQ=="})
}
