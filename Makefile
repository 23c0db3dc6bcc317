# make demo    deploys a real operating system onto a virtual machine and shows it
# make test    everything: unit, property and whole-deploy tests
# make help    the other targets

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CACHE ?= .cache
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
TRIPLE := x86_64-unknown-linux-gnu
AGENT := $(TARGET_DIR)/$(TRIPLE)/agent/bessemer-agent
VENV := $(CACHE)/venv

# What the build, the images, the lab and the counterparts need.
PACKAGES := build-essential pkg-config curl \
  qemu-system-x86 qemu-utils ovmf seabios \
  xorriso mtools dosfstools kmod cpio zstd gzip shim-signed grub-efi-amd64-signed grub-pc-bin isolinux syslinux-common \
  mmdebstrap gdisk e2fsprogs util-linux iproute2 \
  python3 python3-venv python3-dev libvirt-dev libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# ---- what has to be there ----

.PHONY: setup packages tools
setup: packages tools $(VENV)/.complete ## Installs what is missing

packages:
	@missing=$$(for p in $(PACKAGES); do \
	  dpkg-query -W -f='$${db:Status-Abbrev}' $$p 2>/dev/null | grep -q '^ii' || echo $$p; done); \
	[ -z "$$missing" ] && exit 0; \
	run=""; [ "$$(id -u)" = 0 ] || run="sudo -n"; \
	line="apt-get install -y --no-install-recommends $$(echo $$missing)"; \
	if [ -n "$$run" ] && ! sudo -n true 2>/dev/null; then \
	  echo "These packages are missing. As root run:"; echo "  apt-get update && $$line"; exit 1; fi; \
	echo "Installing: $$(echo $$missing)"; \
	$$run apt-get update -q && $$run env DEBIAN_FRONTEND=noninteractive $$line

tools:
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust 1.95 or newer (https://rustup.rs)"; exit 1; }
	@command -v cargo-nextest >/dev/null || cargo install cargo-nextest --locked

$(VENV)/.complete: tests/requirements.txt | packages
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	touch $@

# ---- what is built ----

.PHONY: build agent ramdisk images
build: ## Builds the controller, release profile
	cargo build --release -p bessemer-controller

agent: ## Builds the static agent
	RUSTFLAGS='-C target-feature=+crt-static' cargo build --profile agent --target $(TRIPLE) -p bessemer-agent

ramdisk: packages agent ## Builds the initramfs and the deploy ISO into .cache/ramdisk
	cargo run --quiet -p bessemer-ramdisk -- build --agent $(AGENT) --out $(CACHE)/ramdisk --cache $(CACHE)

images: packages ## Builds the Debian disk image of the demo and the tests into .cache/images
	tests/images/build-debian.sh

# ---- what is run ----

.PHONY: demo test lint deny clean
demo: setup build ramdisk images ## Deploys Debian onto a virtual machine; KEEP=1 leaves it running
	cargo build --quiet -p bessemer-tests --bin bessemer-lab
	TARGET_DIR='$(TARGET_DIR)' CACHE='$(CACHE)' tests/demo/demo.sh $(if $(KEEP),--keep)

test: setup ramdisk images ## Runs every test
	cargo build --workspace --bins
	cargo nextest run --workspace --no-fail-fast

lint: ## Formatting and lints
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

deny: ## Licences, bans, sources; advisories where their database can be reached
	command -v cargo-deny >/dev/null || cargo install cargo-deny --locked
	cargo deny check licenses bans sources
	cargo deny check advisories || echo "The advisory database was not reached or it has findings: see above."

clean: ## Removes everything that was built
	cargo clean
	rm -rf $(CACHE)
