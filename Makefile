# make help lists the targets. Set a variable on the command line: make fuzz FUZZTIME=1m

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 100000x
BENCH    ?= .
TESTS    ?= ./...
FOR      ?= 30m
FAULT    ?=
SEED     ?= 0
LONG     ?=
# The directory for the commands, whether to build them with the race detector (RACE=1), and which.
BIN      ?= bin
RACE     ?=
PROGRAMS ?= caddy claudemesh claudemesh-hook
# The time limit for all tests of one package; V=1 prints each test as it ends; RERUNS=1 runs a failed test
# once more.
TIMEOUT  ?= 20m
V        ?=
RERUNS   ?=

module  := github.com/claudemesh/claudemesh
ldflags := -s -w -X $(module)/caddymesh.version=$(VERSION) -X $(module)/peer/cli.version=$(VERSION) -X main.version=$(VERSION)
# The tags that xcaddy uses: they leave out databases that only Caddy's certificate authority needs.
tags    := nobadger,nomysql,nopgx
compile := CGO_ENABLED=$(if $(RACE),1,0) go build $(if $(RACE),-race,-trimpath) -buildvcs=false -tags $(tags) -ldflags "$(ldflags)"

.PHONY: help build commands man release docs run cluster test test-busy test-claude torture recording screenshots bench benchmarks fuzz lint fmt clean
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/caddy (the broker), bin/claudemesh (the client) and bin/claudemesh-hook (its hook)
	@mkdir -p $(BIN)
	@echo "building $(PROGRAMS) $(VERSION) in $(BIN)"
	@$(foreach program,$(PROGRAMS),$(compile) -o $(BIN)/$(program) ./cmd/$(program) &&) true

commands: build # also build the stand-in for Claude Code, so that the tests have all the programs they start
	@$(compile) -o $(BIN)/stand-in/claude ./tests/internal/standin

man: build ## write a man page for each verb to bin/man
	@$(BIN)/claudemesh man $(BIN)/man

release: ## build archives, Debian packages, checksums and SBOMs of the tagged commit into bin/release
	@scripts/release $(if $(filter file,$(origin VERSION)),,'$(VERSION)')

docs: ## generate docs/options.md and docs/metrics.md from package caddymesh, and docs/capacity.md from BENCHMARKS.md
	@go test -count=1 -run '^TestPages$$' ./caddymesh -update
	@go run ./tests/capacity

run: build ## run the broker on 127.0.0.1:7900 until Ctrl-C
	@scripts/run

cluster: build ## run three nodes, a load balancer and Postgres on 127.0.0.1 until Ctrl-C
	@scripts/need postgres
	@scripts/cluster

test: ## run all tests on both databases with the race detector; V=1 prints each test as it ends
	@scripts/need gcc postgres proxies shells
	@$(MAKE) --no-print-directory commands BIN=bin/test RACE=1
	@CGO_ENABLED=1 CLAUDEMESH_TEST_COMMANDS='$(CURDIR)/bin/test' RERUNS=$(RERUNS) \
		scripts/gotest '$(TESTS)' -race -shuffle=on -timeout $(TIMEOUT) $(if $(V),-v)
	@$(if $(filter ./...,$(TESTS)),cd tests/operator && CLAUDEMESH_TEST_COMMANDS='$(CURDIR)/bin/test' RERUNS=$(RERUNS) \
		../../scripts/gotest ./... -shuffle=on -timeout $(TIMEOUT) $(if $(V),-v))

test-busy: ## run all tests while a busy loop occupies each core
	@scripts/busy $(MAKE) --no-print-directory test TIMEOUT=1h

test-claude: ## run the tests that need the real Claude Code; LONG=1 repeats the interruptions four times as often
	@CLAUDEMESH_TEST_LONG=$(LONG) RERUNS=$(RERUNS) scripts/claude test

recording: ## record docs/exchange.svg: an exchange between two sessions
	@scripts/claude film

screenshots: ## take pictures of the operator's page and the Grafana dashboard with traffic, in both color schemes, into bin/screenshots
	@scripts/need chromium npm
	@scripts/screenshots bin/screenshots

torture: ## inject faults under load for FOR, of every kind or only FAULT (namespaces needs root); print a ledger of the messages and what abusers cost others
	@scripts/need postgres
	@go -C tests/torture test -count=1 -timeout 0 -run '^Test(Torture|Abuse|Namespaces)$$' -for=$(FOR) -fault='$(FAULT)' -seed=$(SEED)

bench: ## run the Go benchmarks; BENCH selects them
	@scripts/need postgres
	@go test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m $(TESTS)

benchmarks: ## measure BENCHMARKS.md anew, which takes half an hour; BENCHFLAGS='-quick' only tries it out
	@scripts/need postgres
	@cd tests/bench && go run . $(BENCHFLAGS)
	@go run ./tests/capacity

fuzz: ## run every fuzz target for FUZZTIME: a number of runs (100000x) or a time (1m)
	@scripts/fuzz $(FUZZTIME)

lint: ## run go vet and golangci-lint
	@go vet ./...
	@go -C tests/bench vet ./...
	@go -C tests/operator vet ./...
	@scripts/lint

fmt: ## format Go files and Caddyfiles
	@gofmt -l -w $$(scripts/files go)
	@go build -o bin/caddy ./cmd/caddy
	@for file in $$(scripts/files caddyfile); do bin/caddy fmt --overwrite "$$file"; done

clean: ## remove bin
	@rm -rf bin
