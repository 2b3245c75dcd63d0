# The broker through xcaddy, for those who combine it with other Caddy modules:
#
#     make -f xcaddy.mk                                   from this checkout, to bin/caddy
#     make -f xcaddy.mk WITH=example.com/other-module
#     make -f xcaddy.mk OFFLINE=1                         without a network
#
# From a published version, without a checkout:
#
#     xcaddy build --with github.com/claudemesh/claudemesh/caddymesh@latest
#
# The version of Caddy is that of go.mod. The build uses --replace, not --with ...=., because a
# replacement must be a whole module, and caddymesh is only a package. xcaddy still asks the
# module proxy for the module, and gives up on any answer but "not found".
#
# xcaddy needs a network: it looks up the versions that Caddy requires, and asks the checksum
# database. OFFLINE=1 builds the same program with the versions in go.sum. The module cache must
# have them, for example after `make build`, and the modules of WITH.

module  := github.com/claudemesh/claudemesh
caddy   := $(shell go list -m -f '{{.Version}}' github.com/caddyserver/caddy/v2)
version := v0.4.5
WITH    ?=
OFFLINE ?=

.PHONY: build offline list
list: $(if $(OFFLINE),offline,build)
	bin/caddy list-modules | grep claudemesh

build: bin/xcaddy
	CGO_ENABLED=0 bin/xcaddy build $(caddy) \
		--with $(module)/caddymesh --replace $(module)=$(CURDIR) \
		$(addprefix --with ,$(WITH)) --output bin/caddy

offline: export GOPROXY := file://$(shell go env GOMODCACHE)/cache/download
offline: export GOSUMDB := off
offline: export GOTOOLCHAIN := local
offline:
	@set -e; tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; cp go.mod go.sum "$$tmp"; \
	{ echo "package main"; for m in $(WITH); do echo "import _ \"$${m%%@*}\""; done; } >"$$tmp/with.go"; \
	echo '{"Replace": {"$(CURDIR)/cmd/caddy/with.go": "'"$$tmp"'/with.go"}}' >"$$tmp/overlay.json"; \
	$(if $(WITH),go get -modfile="$$tmp/go.mod" $(WITH);) \
	CGO_ENABLED=0 go build -modfile="$$tmp/go.mod" -overlay="$$tmp/overlay.json" -trimpath -buildvcs=false \
		-tags nobadger,nomysql,nopgx -ldflags "-s -w" -o bin/caddy ./cmd/caddy

bin/xcaddy:
	GOBIN=$(CURDIR)/bin go install github.com/caddyserver/xcaddy/cmd/xcaddy@$(version)
