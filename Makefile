# Bessemer. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.NOTPARALLEL:

target := $(abspath $(or $(CARGO_TARGET_DIR),target))
cache := $(CURDIR)/.cache
triple := x86_64-unknown-linux-gnu
agent_binary := $(target)/$(triple)/agent/bessemer-agent
deploy_iso := $(cache)/ramdisk/deploy.iso
demo_image := $(cache)/images/debian.raw
fuzz_targets := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))
FUZZ_SECONDS ?= 60

# The last two: losetup, nginx and sgdisk live there.
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin
export BESSEMER_CACHE ?= $(cache)/kernels
export BESSEMER_VENV ?= $(cache)/venv

.PHONY: help
help: ## Show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  make %-10s %s\n", $$1, $$2 }'

.PHONY: setup
setup: ## Install Debian packages, cargo-nextest and Python programs that are missing
	@tests/setup.sh

.PHONY: build
build: ## Build the controller, the ramdisk builder and the lab
	cargo build --workspace

.PHONY: release
release: ## Build the optimised controller and ramdisk builder for installation
	cargo build --release -p bessemer-controller -p bessemer-ramdisk

.PHONY: agent
agent: ## Build the static agent
	RUSTFLAGS='-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs' cargo build --profile agent --target $(triple) -p bessemer-agent

.PHONY: ramdisk
ramdisk: agent ## Build the deploy ramdisk and ISO into .cache/ramdisk
	cargo run --quiet -p bessemer-ramdisk -- build --agent $(agent_binary) --out $(dir $(deploy_iso))

.PHONY: images
images: ## Build the demo disk image into .cache/images
	@if [ "$$(id -u)" = 0 ]; then tests/images/build-debian.sh; else sudo tests/images/build-debian.sh; fi

.PHONY: lint
lint: ## Check format and clippy
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

.PHONY: deny
deny: ## Check licences, sources and known weaknesses of dependencies
	@cargo deny --version >/dev/null 2>&1 || cargo install cargo-deny --locked
	cargo deny check licenses bans sources
	@if timeout 30 git ls-remote --exit-code https://github.com/rustsec/advisory-db HEAD >/dev/null 2>&1; then \
	    cargo deny check advisories; \
	else echo 'deny: the advisory database cannot be reached; known weaknesses were not checked'; fi

.PHONY: test
test: setup build ramdisk images ## Run all tests, virtual machines too [LONG=1: fuzz, too]
	@# What works on the database, first on PostgreSQL, then with everything else on SQLite.
	BESSEMER_TEST_STORE=postgresql cargo nextest run -p bessemer-controller --lib -E 'test(/^(api|notify|reconcile)::/)'
	BESSEMER_DEPLOY_ISO=$(deploy_iso) BESSEMER_DEMO_IMAGE=$(demo_image) BESSEMER_BIN=$(target)/debug/bessemer \
	    cargo nextest run --workspace
	$(if $(LONG),$(MAKE) fuzz)

.PHONY: fuzz
fuzz: ## Fuzz what reads foreign bytes, each target for a minute [FUZZ_SECONDS=60]
	@cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
	@# The sanitizers need a nightly compiler. What is found new stays out of the seeds.
	for target in $(fuzz_targets); do \
	    mkdir -p "$(cache)/fuzz/$$target"; \
	    cargo fuzz run --sanitizer none "$$target" "$(cache)/fuzz/$$target" "fuzz/corpus/$$target" -- \
	        -max_total_time=$(FUZZ_SECONDS) -max_len=65536 -timeout=20 -rss_limit_mb=512 -print_final_stats=1; \
	done

.PHONY: bench
bench: setup agent images ## Measure writing images beside curl, dd, qemu-img and bmaptool [BENCH_QUICK=1] [BENCH_ROUNDS=3] [BENCH_GIB=4] [BENCH_ONLY=case] [BENCH_WRITE_TO=file]
	cargo build -p bessemer-controller
	cargo build --release -p bessemer-tests --bin bessemer-bench
	@# Loop devices want root.
	$(if $(filter 0,$(shell id -u)),,sudo) $(target)/release/bessemer-bench run --agent $(agent_binary) \
	    --bessemer $(target)/debug/bessemer --image $(demo_image) --cache $(cache)/bench \
	    $(if $(BENCH_QUICK),--quick) $(if $(BENCH_GIB),--gib $(BENCH_GIB)) $(if $(BENCH_ROUNDS),--rounds $(BENCH_ROUNDS)) \
	    $(if $(BENCH_ONLY),--only '$(BENCH_ONLY)') $(if $(BENCH_WRITE_TO),--write-to '$(BENCH_WRITE_TO)')

.PHONY: bench-api
bench-api: ## Measure the API with 10,000 nodes beside the real Ironic [BENCH_NODES=] [BENCH_LIVES=] [BENCH_ONLY=SQLite] [BENCH_WRITE_TO=file]
	@tests/setup.sh ironic
	cargo build --release -p bessemer-controller
	cargo build --release -p bessemer-tests --bin bessemer-bench-api
	RUST_LOG=warn BESSEMER_BIN=$(target)/release/bessemer $(target)/release/bessemer-bench-api --ironic $(BESSEMER_VENV)-ironic \
	    $(if $(BENCH_NODES),--nodes $(BENCH_NODES)) $(if $(BENCH_LIVES),--lives $(BENCH_LIVES)) \
	    $(if $(BENCH_ONLY),--only '$(BENCH_ONLY)') $(if $(BENCH_WRITE_TO),--write-to '$(BENCH_WRITE_TO)')

.PHONY: bench-bmc
bench-bmc: ## Measure how many BMCs one core can poll, beside the real Ironic [BENCH_BMCS=300] [BENCH_WRITE_TO=file]
	@tests/setup.sh ironic
	cargo build --release -p bessemer-controller
	cargo build --release -p bessemer-tests --bin bessemer-bench-api
	RUST_LOG=warn BESSEMER_BIN=$(target)/release/bessemer $(target)/release/bessemer-bench-api --ironic $(BESSEMER_VENV)-ironic \
	    --bmcs $(or $(BENCH_BMCS),300) $(if $(BENCH_WRITE_TO),--write-to '$(BENCH_WRITE_TO)')

.PHONY: demo
demo: setup build ramdisk images ## Deploy a real Debian onto a virtual machine and watch [KEEP=1] [FIRMWARE=bios|secure-boot]
	BESSEMER_DEPLOY_ISO=$(deploy_iso) BESSEMER_TARGET=$(target)/debug tests/demo/demo.sh $(if $(KEEP),--keep) $(if $(FIRMWARE),--firmware $(FIRMWARE))

.PHONY: clean
clean: ## Remove what was built; downloads and images stay in .cache until `rm -rf .cache`
	cargo clean
	rm -rf $(cache)/ramdisk
