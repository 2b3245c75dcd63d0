package caddymesh

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/claudemesh/claudemesh/broker"
	"github.com/claudemesh/claudemesh/cluster"
)

// defaultClusterPort is where a node listens for others, unless the config says otherwise.
const defaultClusterPort = 7901

// Cluster makes a broker one of several nodes that share a Postgres database.
type Cluster struct {
	// The address at which this node accepts the connections of the other nodes. Only nodes
	// in the same database get in. Default: :7901.
	Listen string `json:"listen,omitempty"`
	// The address, with a port, at which the other nodes reach this one. Default: listen, if
	// it names a host. The port defaults to that of listen.
	Advertise string `json:"advertise,omitempty"`

	listen    caddy.NetworkAddress // resolved
	advertise string               // resolved, with a port
}

// provision resolves and checks the addresses. A nil Cluster needs nothing.
func (c *Cluster) provision(storage Storage) error {
	if c == nil {
		return nil
	}
	if _, ok := storage.(*SQLite); ok {
		return fmt.Errorf("cluster: the nodes of a cluster share a Postgres database, and this broker has the %s; "+
			"add `storage postgres {env.DATABASE_URL}`, or remove cluster", storage)
	}
	listen, err := expand("cluster: listen", cmp.Or(c.Listen, ":"+strconv.Itoa(defaultClusterPort)))
	if err != nil {
		return err
	}
	if c.listen, err = caddy.ParseNetworkAddressWithDefaults(listen, "tcp", defaultClusterPort); err != nil {
		return fmt.Errorf("cluster: listen is %q; allowed: <host>:<port> or :<port>: %w", listen, err)
	}
	if c.listen.PortRangeSize() != 1 || c.listen.Network != "tcp" {
		return fmt.Errorf("cluster: listen is %q; allowed: one TCP address, as <host>:<port> or :<port>", listen)
	}
	advertise := c.listen.Host
	if c.Advertise != "" {
		if advertise, err = expand("cluster: advertise", c.Advertise); err != nil {
			return err
		}
	}
	return c.setAdvertise(advertise)
}

// setAdvertise checks the advertised address and adds the port of listen if it has none.
func (c *Cluster) setAdvertise(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil { // no port
		host, port = address, strconv.Itoa(int(c.listen.StartPort))
		if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
			host = host[1 : n-1]
		}
	}
	if addr, err := netip.ParseAddr(host); host == "" || err == nil && addr.IsUnspecified() {
		return fmt.Errorf("cluster: the other nodes need to know where they reach this one; add `advertise <address>` to the block of cluster, "+
			"for example: advertise %s", net.JoinHostPort("10.0.0.1", port))
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || strings.ContainsAny(host, "/@ ") {
		return fmt.Errorf("cluster: advertise is %q; allowed: <host>:<port> or <host>", address)
	}
	c.advertise = net.JoinHostPort(host, port)
	return nil
}

// identity tells clusters apart.
func (c *Cluster) identity() string {
	if c == nil {
		return ""
	}
	return fmt.Sprintf(" node %s %s", c.listen, c.advertise)
}

// node is a broker's part of a cluster while it starts.
type node struct {
	config *Cluster
	relay  *cluster.Relay // nil: there is no cluster
}

// join prepares a broker that is a node of a cluster: its storage joins the cluster when the
// broker starts. Without a cluster it does nothing.
func (c *Cluster) join(storage broker.Storage, o *broker.Options) (node, error) {
	if c == nil {
		return node{}, nil
	}
	store, ok := storage.(interface {
		cluster.Store
		Cluster(cluster.Self)
	})
	if !ok {
		return node{}, fmt.Errorf("cluster: a %T has no nodes; use storage postgres", storage)
	}
	key, err := cluster.NewKey()
	if err != nil {
		return node{}, err
	}
	store.Cluster(cluster.Self{Address: c.advertise, PublicKey: key.Public(), Version: Version(), Unproven: true})
	o.Cluster = cluster.NewOwners(store)
	n := node{c, cluster.NewRelay(key, o.Cluster, o.Log.Named("cluster"))}
	o.Router = n.relay
	return n, nil
}

// serve begins to serve the other nodes.
func (n node) serve(b *broker.Broker, h *hub) error {
	if n.relay == nil {
		return nil
	}
	any, err := n.config.listen.Listen(context.Background(), 0, net.ListenConfig{})
	if err != nil {
		return fmt.Errorf("cluster: listen at %s: %w", n.config.listen, err)
	}
	listener, ok := any.(net.Listener)
	if !ok {
		return fmt.Errorf("cluster: listen at %s: a %T is not a stream", n.config.listen, any)
	}
	n.relay.Serve(listener, b, http.HandlerFunc(h.serveForwarded))
	return nil
}
