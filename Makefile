# make help lists the targets. What stands in capitals can be set: make fuzz FUZZTIME=1m

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 100000x
BENCH    ?= .
TESTS    ?= ./...
FOR      ?= 30m
FAULT    ?=
LONG     ?=
# Where build puts the commands, and whether the race detector watches them (RACE=1).
BIN      ?= bin
RACE     ?=
# How long all tests of one package may take together; V=1 names each test when it ends.
TIMEOUT  ?= 20m
V        ?=

module  := github.com/claudemesh/claudemesh
ldflags := -s -w -X $(module)/caddymesh.version=$(VERSION) -X $(module)/peer/cli.version=$(VERSION) -X main.version=$(VERSION)
# xcaddy's own tags: they leave out databases of Caddy's certificate authority.
tags    := nobadger,nomysql,nopgx
compile := CGO_ENABLED=$(if $(RACE),1,0) go build $(if $(RACE),-race,-trimpath) -buildvcs=false -tags $(tags) -ldflags "$(ldflags)"

.PHONY: help build commands man docs run test test-busy test-claude torture recording bench benchmarks fuzz lint fmt clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## bin/caddy (the broker), bin/claudemesh (the command) and bin/claudemesh-hook (its hook)
	@mkdir -p $(BIN)
	@echo "building $(BIN)/caddy, $(BIN)/claudemesh and $(BIN)/claudemesh-hook $(VERSION)"
	@$(compile) -o $(BIN)/caddy ./cmd/caddy
	@$(compile) -o $(BIN)/claudemesh ./cmd/claudemesh
	@$(compile) -o $(BIN)/claudemesh-hook ./cmd/claudemesh-hook

commands: build # and what stands in for Claude Code: all that tests start
	@$(compile) -o $(BIN)/stand-in/claude ./tests/internal/standin

man: build ## a man page of each verb, in $(BIN)/man
	@$(BIN)/claudemesh man $(BIN)/man

docs: ## docs/options.md and docs/metrics.md, from package caddymesh
	@go test -count=1 -run '^TestPages$$' ./caddymesh -update

run: build ## the broker on 127.0.0.1:7900, until Ctrl-C
	@scripts/run

test: ## all tests on both databases, with the race detector; V=1 names each test when it ends
	@scripts/need gcc postgres proxies
	@$(MAKE) --no-print-directory commands BIN=bin/test RACE=1
	@CGO_ENABLED=1 CLAUDEMESH_TEST_COMMANDS='$(CURDIR)/bin/test' \
		go test -race -shuffle=on -timeout $(TIMEOUT) $(if $(V),-v) $(TESTS)

test-busy: ## the same beside a busy loop on each core
	@scripts/busy $(MAKE) --no-print-directory test TIMEOUT=1h

test-claude: ## the tests in the real Claude Code, where it can be had; LONG=1 tries interruptions four times as often
	@CLAUDEMESH_TEST_LONG=$(LONG) scripts/claude test

recording: ## docs/exchange.svg: an exchange of two sessions, filmed
	@scripts/claude film

torture: ## faults of every kind under load for FOR, or those of one FAULT; prints a ledger of the messages, and what abusers cost others
	@scripts/need postgres
	@go -C tests/torture test -count=1 -timeout 0 -run '^Test(Torture|Abuse)$$' -for=$(FOR) -fault='$(FAULT)'

bench: ## benchmarks
	@scripts/need postgres
	@go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m $(TESTS)

benchmarks: ## BENCHMARKS.md: the broker beside its limits, half an hour; BENCHFLAGS='-quick' to see that it works
	@scripts/need postgres
	@cd tests/bench && go run . $(BENCHFLAGS)

fuzz: ## every fuzz target for FUZZTIME: so many runs (100000x) or so long (1m)
	@scripts/fuzz $(FUZZTIME)

lint: ## go vet and golangci-lint
	@go vet ./...
	@scripts/lint

fmt: ## format Go files and Caddyfiles
	@gofmt -l -w $$(scripts/files go)
	@go build -o bin/caddy ./cmd/caddy
	@for file in $$(scripts/files caddyfile); do bin/caddy fmt --overwrite "$$file"; done

clean: ## remove what was built
	@rm -rf bin
