package caddymesh

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// The values of Handler.CreateMeshes: who may create meshes.
const (
	createOpen     = "open"
	createLoopback = "loopback"
	createToken    = "token"
	createOff      = "off"
)

// Handler serves a claudemesh broker. Through the broker, Claude Code sessions find each
// other and exchange end-to-end encrypted messages.
//
// It answers on these paths and passes every other request to the next handler:
//
//	GET  /ws                     the WebSocket of the protocol
//	POST /hook/set-status        status reports of Claude Code hooks
//
// GET  /health, /health/ready  liveness; readiness (503 while the storage is unreachable)
// POST /join                   joins a mesh with a v1 invite token
// POST /invites/{code}/claim   joins a mesh with an invite link
// GET  /i/{code}               the page that an invite link opens in a browser
// POST /meshes                 creates a mesh
//
// All handlers with the same storage share one broker. The broker and its sockets survive
// a reload of the config.
type Handler struct {
	// Where the broker keeps its data. Default: Postgres with the connection string in
	// the environment variable DATABASE_URL if the variable is set and not empty when
	// the config is loaded, else SQLite in Caddy's data directory.
	Storage json.RawMessage `json:"storage,omitempty" caddy:"namespace=claudemesh.storage inline_key=module"`

	// Makes this broker one of several nodes that share a Postgres database. Every node needs
	// it. The nodes connect to each other: at "listen", a node accepts the connections of the
	// others (default: :7901), and "advertise" is the address, with a port, at which the
	// others reach it (default: listen, if that names a host). The port of listen is the
	// default port of advertise. Supports placeholders. Default: no cluster, so the broker
	// has the database alone.
	Cluster *Cluster `json:"cluster,omitempty"`

	// Who may create meshes on this site: "open" (everybody), "loopback" (only requests
	// from this machine that don't come through a proxy), "token" (only requests with
	// create_token) or "off" (nobody). Default: loopback.
	CreateMeshes string `json:"create_meshes,omitempty"`

	// The token that create_meshes "token" requires. This is a field of the JSON config; in
	// a Caddyfile, write create_meshes token <secret>. Use a placeholder, {env.NAME} or
	// {file.PATH}, to keep the token out of the adapted config.
	// Default: {env.CLAUDEMESH_CREATE_TOKEN}.
	CreateToken string `json:"create_token,omitempty"`

	// The site's address as browsers see it, e.g. https://mesh.example.com, for invite
	// pages. Set it only if a proxy in front changes the address. Supports
	// placeholders. Default: the address in the browser.
	PublicURL string `json:"public_url,omitempty"`

	Limits

	log       *zap.Logger
	hub       *hub
	token     string // resolved; secret
	publicURL string // resolved, without a trailing slash
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.claudemesh",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the configuration and finds the hub of its storage. It doesn't open the
// storage, because Caddy may still reject the config.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger().WithOptions(zap.WrapCore(limitLogs))
	settings := h.settings()
	if err := settings.Validate(); err != nil {
		return err
	}
	if err := h.provisionPolicy(); err != nil {
		return err
	}
	storage, err := loadStorage(ctx, h.Storage)
	if err != nil {
		return err
	}
	if err := h.Cluster.provision(storage); err != nil {
		return err
	}
	app, err := ctx.App("claudemesh")
	if err != nil {
		return err
	}
	h.hub, err = app.(*App).use(storage, h.Cluster, settings)
	return err
}

// provisionPolicy resolves the options of this handler, which aren't the broker's.
func (h *Handler) provisionPolicy() error {
	switch h.CreateMeshes {
	case "":
		h.CreateMeshes = createLoopback
	case createOpen, createLoopback, createOff:
	case createToken:
		if h.CreateToken == "" {
			h.CreateToken = "{env.CLAUDEMESH_CREATE_TOKEN}"
		}
		var err error
		if h.token, err = expand("create_meshes token", h.CreateToken); err != nil {
			return err
		}
	default:
		return fmt.Errorf("create_meshes is %q; allowed: open, loopback, token, off", h.CreateMeshes)
	}
	if h.CreateToken != "" && h.CreateMeshes != createToken {
		return fmt.Errorf("create_token has no effect with create_meshes %q; set create_meshes to token, or remove create_token", h.CreateMeshes)
	}

	if h.PublicURL == "" {
		return nil
	}
	public, err := expand("public_url", h.PublicURL)
	if err != nil {
		return err
	}
	if err := checkPublicURL(public); err != nil {
		return fmt.Errorf("public_url is %q; allowed: http:// or https:// with a host, without query and fragment", public)
	}
	h.publicURL = strings.TrimRight(public, "/")
	return nil
}

func checkPublicURL(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return err
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "", u.User != nil,
		u.RawQuery != "", u.ForceQuery, strings.Contains(s, "#"):
		return errors.New("not a plain web address")
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
