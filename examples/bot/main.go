// Command bot is a peer that answers: it tells who is in the mesh, and what they are
// doing. It shows what a program on package peer needs.
//
//	claudemesh join '<link>' --name bot   # with a CLAUDEMESH_CONFIG_DIR of the bot's own
//	go run ./examples/bot
//
// Then anybody in the mesh can ask: claudemesh send bot who
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/claudemesh/claudemesh/peer"
	"github.com/claudemesh/claudemesh/wire"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bot:", err)
		os.Exit(1)
	}
}

// run serves the only joined mesh until ctx ends, or until the broker refuses the bot
// for good.
func run(ctx context.Context) error {
	dir, err := peer.DefaultDir()
	if err != nil {
		return err
	}
	config, err := peer.LoadConfig(dir)
	if err != nil {
		return err
	}
	mesh, err := config.Find("")
	if err != nil {
		return err
	}

	b := &bot{waiting: make(chan peer.Incoming, 16)}
	b.client, err = peer.New(peer.Options{
		Mesh:      *mesh,
		About:     peer.About{SessionID: "bot", Cwd: "/", Hostname: "bot", PeerType: "connector", Channel: "examples/bot"},
		OnMessage: b.take,
		OnState: func(s peer.State) {
			slog.Info("broker", "connected", s.Connected, "err", s.Err, "retry in", s.RetryIn)
		},
	})
	if err != nil {
		return err
	}
	running, cancel := context.WithCancel(ctx)
	answering := make(chan struct{})
	go func() {
		defer close(answering)
		b.answerAll(running)
	}()
	err = b.client.Run(ctx)
	cancel()
	<-answering
	if errors.Is(err, context.Canceled) {
		return nil // somebody has stopped the bot
	}
	return err
}

// bot answers messages one after the other.
type bot struct {
	client  *peer.Client
	waiting chan peer.Incoming
}

// take accepts a message. The client acknowledges it when take returns nil. When the
// channel is full, take waits, and the broker keeps later messages. A bot that must answer in spite
// of a crash stores the message here.
func (b *bot) take(ctx context.Context, m peer.Incoming) error {
	if m.Sealing != peer.Direct {
		return nil // for a group, or not readable
	}
	select {
	case b.waiting <- m:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// answerAll answers until ctx ends. It is not part of take, which must not wait for a
// Send of the same client.
func (b *bot) answerAll(ctx context.Context) {
	for {
		select {
		case m := <-b.waiting:
			if err := b.answer(ctx, m); err != nil {
				slog.Warn("no answer", "message", m.MessageID, "err", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// answer sends an answer to the key that has sealed the question. A message may come
// twice. Its answer has the same ClientID then, and the broker delivers it once.
func (b *bot) answer(ctx context.Context, m peer.Incoming) error {
	text := "ask me: who"
	if strings.TrimSpace(string(m.Body)) == "who" {
		peers, err := b.client.ListPeers(ctx)
		if err != nil {
			return fmt.Errorf("list the peers: %w", err)
		}
		text = who(peers)
	}
	_, err := b.client.Send(ctx, peer.Outgoing{
		To:       []wire.Target{{Kind: wire.TargetKey, Key: m.Sender}},
		Body:     []byte(text),
		ReplyTo:  m.MessageID,
		ClientID: "answer-" + m.MessageID,
	})
	return err
}

// who describes each peer in a line. Names come from others: %q makes invisible characters
// visible.
func who(peers []wire.PeerRow) string {
	var lines []string
	for _, p := range peers {
		line := fmt.Sprintf("%q is %s", p.DisplayName, p.Status)
		if p.Summary != nil {
			line += fmt.Sprintf(": %q", *p.Summary)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
