# Everything a contributor or a CI job runs; `make` lists it.

CARGO_DENY_VERSION := 0.20.2
PYTHON ?= python3

TOOLS := target/tools
CARGO_DENY := $(TOOLS)/bin/cargo-deny
SDK := target/sdk
SDK_PINS := tests/sdk/requirements.txt

.DEFAULT_GOAL := help
.PHONY: help build test test-rust test-sdk check lint fmt doc deny clean

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## Builds the release binary
	cargo build --release --locked

test: test-rust test-sdk ## Runs all tests

test-rust: ## Runs the Rust tests
	cargo test --locked

# The stamp is the list that was installed: a changed list makes a new environment.
test-sdk: ## Runs the real azure-batch client through the proxy (needs python3 with venv)
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		echo "test-sdk: skipped, because there is no $(PYTHON) with venv"; exit 0; \
	fi; \
	set -e; \
	if ! cmp -s $(SDK_PINS) $(SDK)/installed.txt; then \
		rm -rf $(SDK); \
		$(PYTHON) -m venv $(SDK); \
		$(SDK)/bin/pip install --quiet --disable-pip-version-check --requirement $(SDK_PINS); \
		cp $(SDK_PINS) $(SDK)/installed.txt; \
	fi; \
	listed=$$(cargo test --locked --quiet --test it sdk:: -- --ignored --list); \
	case "$$listed" in *": test"*) ;; *) echo "test-sdk: there are no such tests"; exit 1 ;; esac; \
	BATCH_SDK_PYTHON=$(CURDIR)/$(SDK)/bin/python cargo test --locked --test it sdk:: -- --ignored

check: lint test doc deny ## Runs what CI runs, and the documentation

lint: ## Checks format and lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

fmt: ## Formats the source
	cargo fmt

doc: ## Builds the documentation; a broken link is an error
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# The fetch brings the crates for other systems too, which the offline check wants to see.
deny: $(CARGO_DENY) ## Checks licences, duplicates and sources of the dependencies
	cargo fetch --locked
	$(CARGO_DENY) --offline check bans licenses sources

$(CARGO_DENY):
	cargo install --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY_VERSION)

clean: ## Removes everything that was built
	cargo clean
