package caddymesh

import (
	"errors"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/claudemesh/claudemesh/broker"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("claudemesh", parseCaddyfile)
	// After authentication and rate limits, before handlers that answer every
	// request.
	httpcaddyfile.RegisterDirectiveOrder("claudemesh", httpcaddyfile.Before, "respond")
}

func parseCaddyfile(helper httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h := new(Handler)
	if err := h.UnmarshalCaddyfile(helper.Dispenser); err != nil {
		return nil, err
	}
	return h, nil
}

// UnmarshalCaddyfile reads the directive. Every option is optional and may appear only
// once:
//
//	claudemesh [<matcher>] {
//	    storage                  sqlite [<path>] | postgres [<dsn>]
//	    cluster {
//	        listen               <address>
//	        advertise            <address>
//	    }
//	    create_meshes            open | loopback | token [<secret>] | off
//	    public_url               <url>
//
//	    max_message_bytes        <bytes>
//	    send_rate_per_min        <count>
//	    send_burst               <count>
//	    work_per_min             <units>
//	    work_burst               <units>
//	    new_sessions_per_hour    <count>
//	    max_connections_per_mesh <count>
//	    max_members_per_mesh     <count>
//	    max_queue_bytes_per_mesh <bytes>
//	    hook_rate_limit_per_min  <count>
//
//	    status_ttl               <duration>
//	    hook_fresh_window        <duration>
//	    presence_lease           <duration>
//	    delivery_lease           <duration>
//	    message_retention        <duration>
//	    audit_retention          <duration>
//	    hello_timeout            <duration>
//	    ping_interval            <duration>
//	    pong_timeout             <duration>
//	}
//
// The field with the same name in Handler or Limits describes each option, its range and
// its default.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive's name
	if d.NextArg() {
		return d.ArgErr()
	}
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		if seen[name] {
			return d.Errf("option %s is already set", name)
		}
		seen[name] = true
		if err := h.unmarshalOption(d, name); err != nil {
			return err
		}
	}
	// Validate here, not only in Provision, so that the error has a line number.
	if err := h.settings().Validate(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *Handler) unmarshalOption(d *caddyfile.Dispenser, name string) error {
	switch name {
	case "storage":
		return h.unmarshalStorage(d)
	case "cluster":
		return h.unmarshalCluster(d)
	case "create_meshes":
		return h.unmarshalCreateMeshes(d)
	}

	value, err := onlyArg(d, name)
	if err != nil {
		return err
	}
	if name == "public_url" {
		h.PublicURL = value
		return nil
	}
	var unused broker.Settings
	for _, o := range options(&h.Limits, &unused) {
		if o.name == name {
			return o.parse(d, value)
		}
	}
	return d.Errf("unrecognized option %q", name)
}

// onlyArg returns the only argument of an option.
func onlyArg(d *caddyfile.Dispenser, name string) (string, error) {
	if !d.NextArg() {
		return "", d.Errf("option %s needs a value", name)
	}
	value := d.Val()
	if d.NextArg() {
		return "", d.Errf("option %s takes only one value; unexpected %q", name, d.Val())
	}
	return value, nil
}

// parse reads the value of a limit. An explicit zero is an error, because zero in JSON
// means "not set".
func (o option) parse(d *caddyfile.Dispenser, value string) error {
	var n int64
	var err error
	if o.period {
		var d time.Duration
		d, err = caddy.ParseDuration(value)
		n = int64(d)
	} else {
		n, err = strconv.ParseInt(value, 10, 64)
	}
	if err != nil || n == 0 || !o.given.set(n) {
		return d.WrapErr(&broker.SettingError{Name: o.name, Value: value, Allowed: allowed(o.name)})
	}
	return nil
}

// allowed returns the range of a limit in words. The error of broker.Settings.Validate for
// zero, which is outside every range, contains it.
func allowed(name string) string {
	var unused Limits
	settings := broker.DefaultSettings()
	for _, o := range options(&unused, &settings) {
		if o.name == name {
			o.inEffect.set(0)
		}
	}
	var bad *broker.SettingError
	if !errors.As(settings.Validate(), &bad) {
		return "another value"
	}
	return bad.Allowed
}

func (h *Handler) unmarshalStorage(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.Errf("option storage needs a value; allowed: sqlite [<path>], postgres [<dsn>]")
	}
	name := d.Val()
	if name != "sqlite" && name != "postgres" {
		if _, err := caddy.GetModule(storageNamespace + "." + name); err != nil {
			return d.Errf("storage is %q; allowed: sqlite [<path>], postgres [<dsn>]", name)
		}
	}
	module, err := caddyfile.UnmarshalModule(d, storageNamespace+"."+name)
	if err != nil {
		return err
	}
	h.Storage = caddyconfig.JSONModuleObject(module, "module", name, nil)
	return nil
}

func (h *Handler) unmarshalCluster(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.Errf("option cluster takes no value, but a block with listen <address> and advertise <address>; unexpected %q", d.Val())
	}
	h.Cluster = new(Cluster)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var to *string
		switch d.Val() {
		case "listen":
			to = &h.Cluster.Listen
		case "advertise":
			to = &h.Cluster.Advertise
		default:
			return d.Errf("unrecognized option %q in cluster; allowed: listen <address>, advertise <address>", d.Val())
		}
		if *to != "" {
			return d.Errf("option %s of cluster is already set", d.Val())
		}
		var err error
		if *to, err = onlyArg(d, d.Val()); err != nil {
			return err
		}
	}
	return nil
}

func (h *Handler) unmarshalCreateMeshes(d *caddyfile.Dispenser) error {
	const want = "allowed: open, loopback, token [<secret>], off"
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.Errf("option create_meshes needs a value; %s", want)
	}
	switch mode := args[0]; {
	case mode == createToken && len(args) <= 2:
		if len(args) == 2 {
			h.CreateToken = args[1]
		}
	case (mode == createOpen || mode == createLoopback || mode == createOff) && len(args) == 1:
	default:
		// Don't show the value: it may be a misplaced secret.
		return d.Errf("create_meshes has an unknown value or too many values; %s", want)
	}
	h.CreateMeshes = args[0]
	return nil
}

// Interface guards
var _ caddyfile.Unmarshaler = (*Handler)(nil)
