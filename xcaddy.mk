# The broker through xcaddy, for those who combine it with other Caddy modules:
#
#     make -f xcaddy.mk                                   from this checkout, to bin/caddy
#     make -f xcaddy.mk WITH=example.com/other-module
#     make -f xcaddy.mk OFFLINE=1                         from the module cache only
#
# From a published version, without a checkout:
#
#     xcaddy build --with github.com/claudemesh/claudemesh/caddymesh@latest
#
# The Caddy is the one that go.mod names. --replace and not --with ...=. because a
# replacement must be a whole module, and caddymesh is a package of one. xcaddy asks
# the module proxy for the module all the same and gives up when the answer is
# anything but "not found"; OFFLINE=1 is for proxies that answer otherwise.

module  := github.com/claudemesh/claudemesh
caddy   := $(shell go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)
version := v0.4.5
WITH    ?=
OFFLINE ?=

cache := file://$(shell go env GOMODCACHE)/cache/download

.PHONY: build
build: bin/xcaddy
	$(if $(OFFLINE),go mod download && GOPROXY=$(cache)) CGO_ENABLED=0 bin/xcaddy build $(caddy) \
		--with $(module)/caddymesh --replace $(module)=$(CURDIR) \
		$(addprefix --with ,$(WITH)) --output bin/caddy
	bin/caddy list-modules | grep claudemesh

bin/xcaddy:
	GOBIN=$(CURDIR)/bin go install github.com/caddyserver/xcaddy/cmd/xcaddy@$(version)
