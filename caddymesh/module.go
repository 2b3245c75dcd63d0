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

// Who may create meshes: the values of Handler.CreateMeshes.
const (
	createOpen     = "open"
	createLoopback = "loopback"
	createToken    = "token"
	createOff      = "off"
)

// Handler serves a claudemesh broker, through which Claude Code sessions find
// each other and exchange messages that only they can read.
//
// It answers on these paths and hands every other request to the next handler:
//
//	GET  /ws                     the WebSocket of the protocol
//	POST /hook/set-status        status reports of Claude Code hooks
//	GET  /health, /health/ready  liveness; readiness (503 while the storage is away)
//	POST /join                   membership by a v1 invite token
//	POST /invites/{code}/claim   membership by an invite link
//	GET  /i/{code}               the page that an invite link opens in a browser
//	POST /meshes                 a new mesh
//
// All handlers with the same storage share one broker, which lives on with its
// sockets when the config is reloaded.
type Handler struct {
	// Where the broker keeps what it knows. Without it the environment variable
	// DATABASE_URL decides when the config is loaded: if it is set and not empty,
	// Postgres with that connection string, else SQLite in Caddy's data directory.
	Storage json.RawMessage `json:"storage,omitempty" caddy:"namespace=claudemesh.storage inline_key=module"`

	// Who may create meshes on this site: "open" (everybody), "loopback" (only
	// requests from this machine that came through no proxy), "token" (who shows
	// create_token) or "off" (nobody). Default: loopback.
	CreateMeshes string `json:"create_meshes,omitempty"`

	// The token that create_meshes "token" asks for. Give it as a placeholder,
	// {env.NAME} or {file.PATH}, so that it stays out of the adapted config.
	// Default: {env.CLAUDEMESH_CREATE_TOKEN}.
	CreateToken string `json:"create_token,omitempty"`

	// The site's address as browsers see it, e.g. https://mesh.example.com, for
	// invite pages. Needed only when a proxy in front changes it; placeholders are
	// replaced. Default: what the browser shows.
	PublicURL string `json:"public_url,omitempty"`

	Limits

	log       *zap.Logger
	hub       *hub
	token     string // resolved; secret
	publicURL string // resolved, without a slash at the end
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.claudemesh",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the configuration and finds the hub of its storage. It opens
// no storage: the config may yet be refused.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
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
	app, err := ctx.App("claudemesh")
	if err != nil {
		return err
	}
	h.hub, err = app.(*App).use(storage, settings)
	return err
}

// provisionPolicy resolves what is this handler's own rather than the broker's.
func (h *Handler) provisionPolicy() error {
	replacer := caddy.NewReplacer()
	switch h.CreateMeshes {
	case "":
		h.CreateMeshes = createLoopback
	case createOpen, createLoopback, createOff:
	case createToken:
		if h.CreateToken == "" {
			h.CreateToken = "{env.CLAUDEMESH_CREATE_TOKEN}"
		}
		var err error
		if h.token, err = replacer.ReplaceOrErr(h.CreateToken, true, true); err != nil {
			return fmt.Errorf("create_meshes token: %w", err)
		}
	default:
		return fmt.Errorf("create_meshes is %q; allowed: open, loopback, token, off", h.CreateMeshes)
	}
	if h.CreateToken != "" && h.CreateMeshes != createToken {
		return fmt.Errorf("create_token has no effect with create_meshes %q; allowed: only with token", h.CreateMeshes)
	}

	if h.PublicURL == "" {
		return nil
	}
	public, err := replacer.ReplaceOrErr(h.PublicURL, true, true)
	if err != nil {
		return fmt.Errorf("public_url: %w", err)
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
