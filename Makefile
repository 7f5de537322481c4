# What a developer and the build machine run. `make help` lists it.
#
# RocksDB is minutes of C++ for each profile that needs it, so every command that does says --release, and only the
# pure core is built in the dev profile. See docs/DEVELOPING.md.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

# rustup may have left cargo out of PATH; ccache, where installed, takes the names of the compilers.
CARGO_HOME ?= $(HOME)/.cargo
export PATH := $(if $(wildcard /usr/lib/ccache),/usr/lib/ccache:)$(CARGO_HOME)/bin:$(PATH)

# A build machine starts from a fresh checkout each time; its builds meet in one place.
ifneq ($(CI),)
ifeq ($(CARGO_TARGET_DIR),)
export CARGO_TARGET_DIR := $(HOME)/.cache/profiledb-target
endif
endif

CARGO ?= cargo
CORE := --no-default-features --features laws
FULL := --release --features cli,laws,geoip,arrow
DENY_WARNINGS := -- --deny warnings

.PHONY: help setup demo test test-core test-clients test-datafusion crash lint features package bench fuzz fuzz-list fuzz-smoke

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## install what building RocksDB needs (does nothing when it is there)
	@sh scripts/setup.sh

demo: setup ## a guided tour of the store, in a temporary folder
	$(CARGO) run --release --features cli -- demo

test: setup test-core ## all tests: the pure core with its assertions on, then everything, optimised
	$(CARGO) test $(FULL)

test-core: ## the tests of the pure core alone: seconds, no C++
	$(CARGO) test $(CORE)

# In memory where there is some: the images are opened, not kept.
CRASH_TMP ?= $(if $(wildcard /dev/shm/.),/dev/shm,/tmp)
crash: setup ## every fault of the sweeps, 300 power cuts of each kind, 500 kills, every call failing: an hour or two
	TMPDIR=$(CRASH_TMP) PROFILEDB_FAULTS=full $(CARGO) test $(FULL) --test faults -- --nocapture
	TMPDIR=$(CRASH_TMP) PROFILEDB_POWER_CUTS=300 PROFILEDB_FAILING_CALLS=100000 PROFILEDB_FAILING_SYNCS=400 PROFILEDB_KILLS=500 \
		$(CARGO) test $(FULL) --test engine_paths -- --nocapture crash:: power_loss::

CLIENTS_DIR ?= $(or $(CARGO_TARGET_DIR),target)/clients
test-clients: setup ## the official clients, from their registries, and schemathesis, against a server; needs python3, node and npm
	$(CARGO) build $(FULL)
	CLIENTS_DIR=$(abspath $(CLIENTS_DIR)) python3 tests/clients/run.py $(or $(CARGO_TARGET_DIR),target)/release/profiledb

# With the RocksDB of the main crate: DataFusion switches on another feature of zstd, so cargo would compile it once more.
RELEASE = $(abspath $(or $(CARGO_TARGET_DIR),target))/release
test-datafusion: setup ## SQL by DataFusion, extras/datafusion: 280 crates, built in a folder of its own
	$(CARGO) build --release --features cli
	ROCKSDB_STATIC=1 ROCKSDB_LIB_DIR="$$(dirname "$$(ls -t $(RELEASE)/build/librocksdb-sys-*/out/librocksdb.a | head -n 1)")" \
		CARGO_TARGET_DIR=extras/datafusion/target $(CARGO) test --manifest-path extras/datafusion/Cargo.toml

lint: setup ## formatting, the rules of tests/tidy.rs, clippy and rustdoc, warnings denied
	$(CARGO) fmt --check
	$(CARGO) test $(CORE) --test tidy
	$(CARGO) clippy $(CORE) --all-targets $(DENY_WARNINGS)
	RUSTDOCFLAGS='--deny warnings' $(CARGO) doc $(CORE) --no-deps --document-private-items
	$(CARGO) clippy $(FULL) --all-targets $(DENY_WARNINGS)
	RUSTDOCFLAGS='--deny warnings' $(CARGO) doc $(FULL) --no-deps

features: setup ## each set of features alone, and that all of them share one RocksDB
	sh scripts/one-rocksdb.sh
	$(CARGO) clippy --no-default-features --all-targets $(DENY_WARNINGS)
	$(CARGO) clippy --no-default-features --features laws --all-targets $(DENY_WARNINGS)
	$(CARGO) clippy --no-default-features --features arrow --all-targets $(DENY_WARNINGS)
	$(CARGO) clippy --release --no-default-features --features rocksdb --all-targets $(DENY_WARNINGS)
	$(CARGO) clippy --release --features cli --all-targets $(DENY_WARNINGS)
	$(CARGO) clippy --release --features server $(DENY_WARNINGS)
	$(CARGO) clippy --release --features cli,server $(DENY_WARNINGS)

# Not by `cargo package` itself, which builds in the dev profile: that would be another RocksDB. tar -m, or every file keeps
# the date that cargo packs, 2006, and cargo takes the crate for the one that it built last time.
PACKED = $(or $(CARGO_TARGET_DIR),target)/package
package: setup ## packs the crate, and builds what was packed
	$(CARGO) package --locked --no-verify --allow-dirty
	cd $(PACKED) && rm -rf unpacked && mkdir unpacked && tar -xmzf profiledb-*.crate -C unpacked --strip-components 1
	$(CARGO) check $(FULL) --locked --all-targets --manifest-path $(PACKED)/unpacked/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target)
	$(CARGO) test $(CORE) --locked --manifest-path $(PACKED)/unpacked/Cargo.toml --target-dir $(or $(CARGO_TARGET_DIR),target) --test tidy --test golden

bench: setup ## benchmarks; ARGS='merge' picks by name, ARGS='--quick' is quicker
	$(CARGO) bench --features cli,laws -- $(ARGS)

TARGET ?= merge_grouping
TIME ?= 60
fuzz: ## one fuzzer for a while: TARGET=merge_grouping TIME=60
	@command -v cargo-fuzz >/dev/null || { echo "fuzz: cargo-fuzz is missing: cargo install cargo-fuzz" >&2; exit 1; }
	@if rustup toolchain list 2>/dev/null | grep -q '^nightly'; then \
		set -x; cargo +nightly fuzz run $(TARGET) -- -max_total_time=$(TIME); \
	else \
		set -x; RUSTC_BOOTSTRAP=1 cargo fuzz run $(TARGET) -- -max_total_time=$(TIME); \
	fi

fuzz-smoke: setup ## ten seconds of each fuzzer; needs neither cargo-fuzz nor a nightly compiler
	sh scripts/fuzz-smoke.sh

fuzz-list: ## the fuzzers, one line each
	@for file in fuzz/fuzz_targets/*.rs; do \
		[ -f "$$file" ] || { echo "no fuzzers yet" >&2; break; }; \
		printf '  %-20s %s\n' "$$(basename "$$file" .rs)" "$$(sed -n '1s|^//! *||p' "$$file")"; \
	done
