// Package caddymesh is the claudemesh broker as a Caddy module: configuration, life
// cycle, HTTP routes, metrics and subcommands. The domain logic is in package broker.
//
// # Modules
//
//   - http.handlers.claudemesh ([Handler]): the routes of one site.
//   - claudemesh ([App]): starts the brokers of a config. If a broker can't start, Caddy
//     rejects the config. The app has no configuration of its own.
//   - claudemesh.storage.sqlite ([SQLite]) and claudemesh.storage.postgres
//     ([Postgres]): where a broker keeps its data.
//
// # Files
//
//	module.go             the Handler: its options and provisioning
//	app.go                the App: starts and stops the brokers of a config
//	hubpool.go            opens the storage and keeps one broker for it over reloads
//	storage.go            the storages as modules
//	limits.go             the options that are numbers and durations
//	cluster.go            the addresses of a node of a cluster; joins the cluster
//	caddyfile.go          parses the directive
//	placeholder.go        replaces placeholders in options
//	serve.go              finds the route of a request
//	forward.go            in a cluster: lets the owner of a mesh answer
//	answer.go             reads bodies, writes answers
//	membership.go         POST /join, /meshes and claims; who may create meshes
//	invite_page.go        the invite page
//	admin.go              /claudemesh/health on Caddy's admin endpoint
//	admin_routes.go       the endpoint's other routes: status, meshes, mesh, sessions, members, queue, kick, remove, audit heads
//	operator_page.go      the operator's page, at /claudemesh/ of the endpoint
//	operator_stream.go    keeps it live
//	operator_snapshot.go  what it shows
//	operator_history.go   rates of messages
//	logs.go               limits how often the same message is logged
//	tracing.go            what Caddy's tracing gives the broker to trace with
//	metrics.go            gauges and counters, read from the broker
//	measures.go           histograms, which the broker feeds
//	disk.go               sizes of the database's files
//	disk_unix.go          free space, on Unix
//	disk_other.go         elsewhere
//	command.go            caddy claudemesh migrate and storage
//	command_admin.go      caddy claudemesh status, meshes, mesh, sessions, members, queue and kick
//	command_endpoint.go   finds Caddy's admin endpoint, and asks it
//	command_trouble.go    says for the operator what is wrong with a storage
//	command_display.go    how commands print rows: tables, --json, --watch
//	command_remove.go     caddy claudemesh remove
//	command_page.go       caddy claudemesh page, which serves the operator's page to a browser
//	command_audit.go      caddy claudemesh audit verify
//	command_audit_export.go  caddy claudemesh audit export
//	command_nodes.go      caddy claudemesh nodes
//	command_drain.go      caddy claudemesh drain
//	command_rebalance.go  caddy claudemesh rebalance
//	command_backup.go     caddy claudemesh backup, restore and restored
//	command_move.go       caddy claudemesh move
//	command_health.go     caddy claudemesh health
//	version.go            the version of this module
//
// # Life cycle
//
// A process has one broker per storage. A hub holds the broker; a usage pool holds the
// hub, under the identity of the storage. Provisioning a config looks up its hubs and
// checks everything that it can check without touching them, so a config that is only
// validated, or rejected for another reason, leaves no trace. App.Start opens the storage
// and starts the broker, or applies the new settings to a running broker. Unloading a
// config drops its references to the hubs; dropping the last one drains the broker. So
// sockets survive a reload, unless the storage changes: then the broker closes them with
// 1012 (service restart).
//
// A handler gets its broker from its hub on every request. It never binds a socket to the
// context of the request or the config.
//
// This package is for claudemesh itself; outsiders should not rely on it.
package caddymesh
