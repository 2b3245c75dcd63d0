package caddymesh

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/claudemesh/claudemesh/cluster"
	"github.com/claudemesh/claudemesh/wire"
)

// In a cluster, requests about a mesh are answered by the node that owns the mesh, whichever node
// gets them. The owner learns the client's address from the link between the nodes, not from a
// header, so a client can't forge it.

const (
	// forwardPatience is how long a request waits for the owner of its mesh.
	forwardPatience = 5 * time.Second
	// hookPatience is how long a hook waits for the other nodes: Claude Code waits for the hook.
	hookPatience = 2 * time.Second
)

// publicURLHeader tells the owner of a mesh the address of the site that got the request.
const publicURLHeader = "Claudemesh-Public-Url"

// forward lets the owner of the request's mesh answer. It returns false if this node is to answer.
func (c *call) forward(meshOf func(context.Context) (wire.ID, error)) (answered bool, _ error) {
	relay := c.hub.relay.Load()
	if relay == nil || c.forwarded {
		return false, nil
	}
	mesh, err := meshOf(c.r.Context())
	if err != nil {
		return true, c.storageAway(err)
	}
	if mesh.IsZero() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), forwardPatience)
	defer cancel()
	answer, err := relay.Forward(ctx, mesh, c.client(), c.again(ctx))
	if err != nil {
		c.log.Warn("the owner of a mesh did not answer a request", zap.Stringer("mesh", mesh), zap.Error(err))
		return true, c.unavailable("the node that serves this mesh can't be reached right now")
	}
	if answer == nil {
		return false, nil
	}
	defer answer.Body.Close()
	header := c.w.Header()
	for name, values := range answer.Header {
		if name != "Connection" && name != "Date" {
			header[name] = values
		}
	}
	c.w.WriteHeader(answer.StatusCode)
	_, err = io.Copy(c.w, answer.Body)
	return true, err
}

// meshOfInvite returns the mesh of the invite code in the path.
func (c *call) meshOfInvite(ctx context.Context) (wire.ID, error) {
	return c.broker.MeshOfInvite(ctx, c.code)
}

// again returns the request as another node gets it.
func (c *call) again(ctx context.Context) *http.Request {
	url := *c.r.URL
	url.Scheme, url.Host = "http", "node"
	r := &http.Request{
		Method: c.r.Method, URL: &url, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(c.body)), ContentLength: int64(len(c.body)),
	}
	for _, name := range []string{"Accept", "Content-Type"} {
		if v := c.r.Header.Get(name); v != "" {
			r.Header.Set(name, v)
		}
	}
	if c.publicURL != "" {
		r.Header.Set(publicURLHeader, c.publicURL)
	}
	return r.WithContext(ctx)
}

// serveForwarded answers a request that another node forwards.
func (h *hub) serveForwarded(w http.ResponseWriter, r *http.Request) {
	to, code, ok := find(r.URL.Path)
	c := &call{
		Handler: &Handler{log: h.log, hub: h, publicURL: r.Header.Get(publicURLHeader)},
		w:       w, r: r, code: code, forwarded: true,
	}
	var err error
	switch c.broker = h.broker.Load(); {
	case !ok || !to.forwards:
		err = c.refuse(http.StatusNotFound, "not found", "nodes don't forward requests for this path")
	case c.broker == nil:
		err = c.unavailable("the broker is starting")
	default:
		err = to.serve(c)
	}
	if err != nil {
		h.log.Debug("answering a forwarded request failed", zap.Error(err))
	}
}

// hookElsewhere tells the other nodes the status that a hook reports: the session may be in a mesh
// of theirs. It returns the answer of one that knows the session.
func (c *call) hookElsewhere() (result wire.HookResult, found bool) {
	relay := c.hub.relay.Load()
	if relay == nil || c.forwarded {
		return result, false
	}
	ctx, cancel := context.WithTimeout(c.r.Context(), hookPatience)
	defer cancel()
	var told sync.WaitGroup
	var mu sync.Mutex
	for _, n := range relay.Others() {
		told.Go(func() {
			answer, err := c.hookAt(ctx, relay, n)
			if err != nil {
				c.log.Debug("a node did not get the status of a hook", zap.Int64("node", n.ID), zap.Error(err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if answer.PresenceID != "" && !found {
				result, found = answer, true
			}
		})
	}
	told.Wait()
	return result, found
}

func (c *call) hookAt(ctx context.Context, relay *cluster.Relay, n cluster.Node) (wire.HookResult, error) {
	var result wire.HookResult
	answer, err := relay.ForwardTo(ctx, n, c.client(), c.again(ctx))
	if err != nil {
		return result, err
	}
	defer answer.Body.Close()
	return result, json.NewDecoder(io.LimitReader(answer.Body, maxBody)).Decode(&result)
}
