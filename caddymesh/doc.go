// Package caddymesh is the claudemesh broker as a Caddy module: configuration,
// life cycle, HTTP routes, metrics and subcommands. It holds no domain logic;
// that is package broker's.
//
// # Modules
//
//   - http.handlers.claudemesh ([Handler]): the routes of one site.
//   - claudemesh ([App]): starts the brokers of a config, so that one which can't
//     be started refuses the config. It has no configuration of its own.
//   - claudemesh.storage.sqlite ([SQLite]) and claudemesh.storage.postgres
//     ([Postgres]): where a broker keeps what it knows.
//
// # Life cycle
//
// There is one broker per storage and process, held by a hub in a usage pool
// whose key is the identity of the storage. Provisioning a config looks its hubs
// up and checks everything that can be checked without touching them; a config
// that is only validated, or refused for another reason, leaves no trace. App.Start
// opens the storage and starts the broker, or hands a running one the new
// settings. When a config is unloaded its references are dropped; the last one
// drains the broker. So sockets live on over a reload, except when the storage
// changes: then they are closed with 1012 (service restart).
//
// A handler finds its broker through its hub at every request and never
// binds a socket to the request's or the config's context.
package caddymesh
