# Roost. Everything that is built, checked and released goes through here; `make help` lists the targets.
# The only tool that must be there is Go, and gcc for the race detector: buf, the proto plugins and the linter are built by `go tool`.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-print-directory
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO       ?= go
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS  ?= -s -w -X main.version=$(VERSION)
# What test, bench and fuzz run on.
PKG      ?= ./...
RUN      ?=
BENCH    ?= .
FUZZTIME ?= 10s

BUF  := $(GO) tool -modfile=proto/tools.mod buf
LINT := $(GO) tool -modfile=proto/lint.mod golangci-lint

# Where Go is written by hand.
DIRS := daemon proxy ctl internal examples

# Static: the binaries run on any Linux, whatever its libc. The version is in them already, without git's trust in the folder.
BUILD := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'

##@ Build
.PHONY: help build examples demo clean
help: ## This list
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "%s%s\n", sep, substr($$0, 5); sep = "\n"} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## The four programs, into bin/
	@$(BUILD) -o bin/roostd ./daemon
	@$(BUILD) -o bin/roost-exec ./daemon/exec
	@$(BUILD) -o bin/roost-proxy ./proxy
	@$(BUILD) -o bin/roostctl ./ctl

examples: ## The example apps that are compiled, into bin/examples/
	@$(BUILD) -o bin/examples/ ./examples/...

demo: build examples ## Host the examples, make a first request, say what happened
	@bin/examples/demo

clean: ## Remove what was built
	@rm -rf bin

##@ Test
.PHONY: test fault bench fuzz
test: build examples ## All tests with the race detector, end to end ones included. PKG=./proxy/... RUN=TestX
	@$(GO) test -race -timeout 10m $(if $(RUN),-run '$(RUN)') $(PKG)

# In the package's folder go test prints what a passing test prints: the table.
fault: ## Kill, fill and take away whatever can be, and count what is lost. SHORT=1 takes minutes less, RUN=TestFault_X
	@$(GO) test -C internal/e2e -count 1 -timeout 60m -fault $(if $(SHORT),short,full) $(if $(RUN),-run '$(RUN)')

bench: build examples ## All benchmarks, one package at a time. PKG=./internal/e2e/... BENCH=Cold
	@$(GO) test -p 1 -run '^$$' -bench '$(BENCH)' -benchmem -timeout 30m $(PKG) | { grep -v -e '^ok ' -e '^PASS' -e 'no test files' || true; }

fuzz: ## Every fuzz target for FUZZTIME (10s) each
	@grep -rHoE --include='*_test.go' '^func Fuzz\w+' . | while IFS=: read -r file func; do \
		echo "$$(dirname "$$file") $${func#func }"; \
		$(GO) test -run '^$$' -fuzz "^$${func#func }\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")" >.fuzz.log 2>&1 || { cat .fuzz.log; rm -f .fuzz.log; exit 1; }; \
		sed -n "s/^fuzz: elapsed/  &/p" .fuzz.log | tail -n 1; rm -f .fuzz.log; done

##@ Check
.PHONY: check check-format check-vet check-fix check-lint check-proto check-gen check-mod check-exec
check: check-format check-mod check-proto check-gen check-exec check-vet check-fix check-lint ## All that CI asks of a change beside the tests

check-format:
	@files=$$(gofmt -l $(DIRS)); [ -z "$$files" ] || { echo "make format for:" $$files >&2; exit 1; }

check-vet:
	@$(GO) vet ./...
	@$(GO) vet -tags failpoints ./daemon/internal/failpoint

check-fix:
	@$(GO) fix -diff ./...

check-lint:
	@$(LINT) run

check-proto:
	@$(BUF) lint
	@$(BUF) breaking --against proto/baseline.binpb

check-gen:
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	$(BUF) generate --template proto/buf.gen.yaml -o "$$tmp"; \
	diff -r "$$tmp/gen" gen >&2 || { echo "gen/ is not what proto/ says: run make gen and commit it" >&2; exit 1; }

check-mod:
	@$(GO) mod tidy -diff

# roost-exec is what every start of an app waits for: with gRPC in it, it would take 5 to 12 ms instead of 2.
check-exec:
	@$(BUILD) -o bin/roost-exec ./daemon/exec
	@size=$$(stat -c %s bin/roost-exec); [ "$$size" -lt 2097152 ] || { echo "bin/roost-exec has $$size bytes: keep it below 2 MiB" >&2; exit 1; }

##@ Change
.PHONY: gen baseline format
gen: ## gen/ from proto/
	@$(BUF) generate --template proto/buf.gen.yaml

baseline: ## What `buf breaking` compares with: today's proto, in a commit of its own
	@$(BUF) build -o proto/baseline.binpb

format: ## gofmt, and what go fix and the linter can repair
	@gofmt -w $(DIRS)
	@$(GO) fix ./...
	@$(LINT) run --fix
