# The few commands one needs. Everything else is `cargo` and `cargo xtask`.
#
# Build results go outside of the checkout, to the same folder for all of them; set
# CARGO_TARGET_DIR to choose another one.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

export CARGO_TARGET_DIR ?= $(HOME)/.cache/yeoul/target

YEOUL := $(CARGO_TARGET_DIR)/release/yeoul

.PHONY: help test fast build demo bench tools test-tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

test: test-tools ## everything that must be green: format, tidy, clippy, documentation, all tests
	@cargo xtask ci

fast: test-tools ## the same without documentation and whole programs
	@cargo xtask ci --fast

build: tools ## the program, optimised
	@echo "building yeoul (the first time takes long: it compiles DataFusion, Arrow and Parquet)"
	@begun=$$SECONDS; cargo build --release --package yeoul; \
	  echo "built in $$((SECONDS - begun)) s: $(YEOUL)"

demo: build ## real ad traffic replayed, then a living shop: one screen, live numbers
	@"$(YEOUL)" demo $(ARGS)

bench: build ## Yeoul and its peers in turn, with ratios (Python 3 with venv; see bench/README.md)
	@python3 bench/run.py --yeoul "$(YEOUL)" $(ARGS)

tools:
	@command -v cargo >/dev/null || { \
	  echo "cargo is missing: install Rust 1.95 or newer (https://rustup.rs)" >&2; exit 1; }
	@command -v cc >/dev/null || { \
	  echo "a C compiler is missing: on Debian, apt-get install build-essential" >&2; exit 1; }

test-tools: tools
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || { \
	  echo "rustfmt or clippy is missing: rustup component add rustfmt clippy" >&2; exit 1; }
