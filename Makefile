# The one door: people and CI call the same targets. Everything they need and make lies below target/.

FEATURES     := --features test-provider
CONFIG       ?= config.example.yaml
TOOLS        := target/tools
DENY_VERSION := 0.20.2
DENY         := $(TOOLS)/cargo-deny-$(DENY_VERSION)

FUZZ_SECONDS ?= 1800
FUZZ_TARGETS ?= envelope headers lines request_state sse
FUZZ_VERSION := 0.13.2
FUZZ         := $(TOOLS)/cargo-fuzz-$(FUZZ_VERSION)
RUN_FUZZ     := RUSTUP_TOOLCHAIN=nightly $(FUZZ) run --release --sanitizer none --target-dir target/fuzz

.PHONY: faults matrix help run test test-podman check fmt bench bench-smoke integration storm hygiene fuzz fuzz-corpus misrouting soak reloads model interleavings

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

run: ## the gateway on http://127.0.0.1:8000/mcp (CONFIG=file)
	cargo run --release -- serve --http --config $(CONFIG)

test: ## every cargo test, with nextest where it is installed
	@integration/containers/ensure-docker.sh $(if $(filter true,$(CI))$(filter 1,$(HANGAR_TEST_DOCKER)),,--check) || \
		echo '!!! no container engine answers: tests/docker.rs is SKIPPED (HANGAR_TEST_DOCKER=1 installs and starts one)' >&2
	cargo test --quiet $(FEATURES) --doc
	@if cargo nextest --version >/dev/null 2>&1; then \
		set -x; cargo nextest run $(FEATURES); \
	else \
		echo '!!! cargo-nextest is not installed: falling back to `cargo test`, which has no time limits' >&2; \
		echo '!!! and no group for the heavy tests. To have it: cargo install --locked cargo-nextest' >&2; \
		set -x; cargo test $(FEATURES) -- --test-threads=2; \
	fi

test-podman: ## the container tests against a Podman service (installs and starts one)
	socket=$$(integration/containers/ensure-podman.sh) && \
	DOCKER_HOST=unix://$$socket HANGAR_TEST_DOCKER=1 cargo nextest run $(FEATURES) --test docker --test docker_command

check: $(DENY) ## formatting, lints, documentation links, licences and origins of dependencies
	cargo fmt --check
	cargo fmt --check --manifest-path integration/fixture/Cargo.toml
	cargo fmt --check --manifest-path integration/rmcp-peers/Cargo.toml
	cargo clippy $(FEATURES) --all-targets -- -D warnings
	cargo fmt --check --manifest-path fuzz/Cargo.toml
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" cargo doc --quiet $(FEATURES) --no-deps --document-private-items --lib
	$(DENY) --all-features check --hide-inclusion-graph licenses bans sources
	$(DENY) --manifest-path integration/fixture/Cargo.toml --config deny.toml check --hide-inclusion-graph licenses bans sources
	$(DENY) --manifest-path integration/rmcp-peers/Cargo.toml --config deny.toml check --hide-inclusion-graph licenses bans sources

fmt: ## formats the tree
	cargo fmt
	cargo fmt --manifest-path integration/fixture/Cargo.toml

bench: ## reloads on the library, calls through the release binary; docs/benchmarks.md says what they mean
	cargo bench $(FEATURES) --bench reload --bench e2e --bench connect --bench search

bench-smoke: ## the same, unoptimised and once each: proves that the benchmarks work, measures nothing
	cargo test $(FEATURES) --bench reload --bench e2e --bench connect --bench search

integration: ## real servers and real clients against the release binary
	cargo build --release --bin hangar
	cargo build --manifest-path integration/fixture/Cargo.toml --target-dir target --locked
	integration/run
	integration/modern
	integration/conformance

matrix: ## each client library against each server library, through the release binary: docs/compatibility.md
	cargo build --release --bin hangar
	integration/matrix

storm: ## a thousand reloads under load, 100 000 abandoned sessions, with the release binary: the tests named storm_*
	HANGAR_STORM=$${HANGAR_STORM:-1000} HANGAR_SESSIONS=$${HANGAR_SESSIONS:-100000} cargo nextest run --release $(FEATURES) -E 'test(/^storm_/)'

reloads: ## ten thousand reloads under 500 calls a second: none failed or misrouted (tests/storm.rs), the tail of the calls (benches/e2e/storm.rs)
	HANGAR_STORM=$${HANGAR_STORM:-10000} HANGAR_CALLS_PER_S=$${HANGAR_CALLS_PER_S:-500} cargo nextest run --release --profile soak $(FEATURES) --no-capture --test storm -E 'test(/http/)'
	HANGAR_RELOADS=$${HANGAR_STORM:-10000} cargo bench $(FEATURES) --bench e2e -- 'reloads under'

soak: ## two hours of everything (HANGAR_SOAK_S), gently: what the gateway holds has to come back; samples in target/tmp/soak.jsonl
	HANGAR_SOAK_S=$${HANGAR_SOAK_S:-7200} nice cargo nextest run --release --profile soak $(FEATURES) --no-capture --test soak

model: ## registry, slots, reloader and real processes against a model, for a few minutes (HANGAR_MODEL_CASES)
	HANGAR_MODEL_CASES=$${HANGAR_MODEL_CASES:-600} cargo nextest run --profile soak $(FEATURES) --no-capture --test model

interleavings: ## leases, retirement and slot in as many orders of events as shuttle is given (HANGAR_INTERLEAVINGS)
	HANGAR_INTERLEAVINGS=$(or $(HANGAR_INTERLEAVINGS),200000) cargo test --features shuttle --lib -- interleavings_of

hygiene: ## a hundred kill -9 and restarts, fifty stops under load, five hundred switches to a container and back: nothing may be left
	integration/containers/ensure-docker.sh
	HANGAR_STORM=$${HANGAR_STORM:-100} HANGAR_TEST_DOCKER=1 cargo nextest run --release $(FEATURES) --no-capture --test hygiene -E 'test(/storm_kill/)'
	HANGAR_STORM=$${HANGAR_STORM:-500} HANGAR_TEST_DOCKER=1 cargo nextest run --release $(FEATURES) --no-capture --test hygiene -E 'test(/storm_switch/)'
	HANGAR_STOPS=$${HANGAR_STOPS:-50} HANGAR_RESTARTS=$${HANGAR_RESTARTS:-100} cargo nextest run --release $(FEATURES) --no-capture --test stop --test restart -E 'test(/^storm_/)'

misrouting: ## a million calls of 256 clients on 16 providers, each answer and message looked at (HANGAR_CALLS)
	HANGAR_CALLS=$${HANGAR_CALLS:-1000000} cargo nextest run --release $(FEATURES) --no-capture --test misrouting

faults: ## the fault matrix with the release binary, measured anew: docs/reliability.md (floods of HANGAR_FAULTS_S seconds, 5)
	rm -f target/faults.jsonl
	HANGAR_FAULTS=$(CURDIR)/target/faults.jsonl HANGAR_FAULTS_S=$${HANGAR_FAULTS_S:-5} \
		cargo nextest run --release $(FEATURES) --test faults --test-threads 1 -E 'not test(/^page::/)'
	HANGAR_FAULTS=$(CURDIR)/target/faults.jsonl cargo nextest run --release $(FEATURES) --test faults --run-ignored only

# What a run finds stays below target/ until fuzz-corpus takes the smallest of it that reaches as much into the tree. Without a
# sanitizer: there is no unsafe code here, and the laws are what is looked for.
fuzz: $(FUZZ) ## each target of fuzz/ for FUZZ_SECONDS (1800); needs a nightly compiler
	@set -e; for target in $(FUZZ_TARGETS); do \
		mkdir -p target/fuzz-corpus/$$target; \
		nice -n 19 env $(RUN_FUZZ) $$target target/fuzz-corpus/$$target fuzz/corpus/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -max_len=4096 -dict=fuzz/words.dict -print_final_stats=1; \
	done

fuzz-corpus: $(FUZZ) ## takes over what make fuzz has found, minimised
	@set -e; for target in $(FUZZ_TARGETS); do \
		rm -rf target/fuzz-merged; mkdir -p target/fuzz-merged target/fuzz-corpus/$$target; \
		$(RUN_FUZZ) $$target target/fuzz-merged fuzz/corpus/$$target target/fuzz-corpus/$$target -- \
			-merge=1 -use_counters=0 -max_len=1024; \
		rm -rf fuzz/corpus/$$target; mv target/fuzz-merged fuzz/corpus/$$target; \
	done

$(FUZZ):
	cargo install --locked --force --debug --root $(TOOLS) --target-dir $(TOOLS)/build --version $(FUZZ_VERSION) cargo-fuzz
	mv $(TOOLS)/bin/cargo-fuzz $@
	rm -rf $(TOOLS)/build

# A debug build: it runs for two seconds, so a minute less of compiling is worth more.
$(DENY):
	cargo install --locked --force --debug --root $(TOOLS) --target-dir $(TOOLS)/build --version $(DENY_VERSION) cargo-deny
	mv $(TOOLS)/bin/cargo-deny $@
	rm -rf $(TOOLS)/build
