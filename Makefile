# The commands that a contributor needs; .ci/run calls them too. None of them installs system packages.
#
# SPECDEC_SHARED=FOLDER names golden data of more models than the repository holds; where it is set, `make test` runs
# every test, those with the default models included. Without it, what is left out is counted and named.

PYTHON ?= python3
# How the Rust tests are built, other than by the test profile.
TEST_PROFILE ?=
# How clippy builds what it needs, likewise.
LINT_PROFILE ?=
# The package as a user installs it, with what its tests need.
ENVIRONMENT := target/python
IN_ENVIRONMENT := $(ENVIRONMENT)/bin

# The models are tiny and the tests run side by side: one thread each.
export SPECDEC_NUM_THREADS ?= 1
export RAYON_NUM_THREADS ?= 1

# What `make fuzz` runs: these targets, each for so many seconds; SANITIZER=address needs a nightly toolchain.
TARGETS ?= gguf safetensors pickle config tokenizer head table request format
SECONDS ?= 60
SANITIZER ?= none

.PHONY: build test test-rust test-python lint bench docs site fuzz environment

build:
	cargo build --release

test: test-rust test-python

test-rust:
	cargo test --workspace $(TEST_PROFILE) --features specdec_rs/python --no-fail-fast $(if $(SPECDEC_SHARED),-- --include-ignored)

test-python: environment
	$(IN_ENVIRONMENT)/python -m pytest

lint: environment
	cargo fmt --all --check
	cargo clippy --workspace $(LINT_PROFILE) --features specdec_rs/python --all-targets -- -D warnings
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	CARGO_TARGET_DIR=target cargo clippy --locked --manifest-path fuzz/Cargo.toml $(LINT_PROFILE) -- -D warnings
	$(IN_ENVIRONMENT)/ruff format --check .
	$(IN_ENVIRONMENT)/ruff check .
	$(IN_ENVIRONMENT)/mypy
	$(IN_ENVIRONMENT)/python -m mypy.stubtest specdec_rs

bench:
	cargo bench --workspace

docs:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features specdec_rs/python

# The pages of docs/, as a site in target/site. The package itself is not built for it, but Python must be 3.11 or newer.
DOCS_REQUIREMENTS = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")

site:
	[ -x $(IN_ENVIRONMENT)/python ] || $(PYTHON) -m venv $(ENVIRONMENT)
	$(IN_ENVIRONMENT)/python -c '$(DOCS_REQUIREMENTS)' > target/docs-requirements.txt
	$(IN_ENVIRONMENT)/python -m pip install --quiet --requirement target/docs-requirements.txt
	NO_MKDOCS_2_WARNING=1 $(IN_ENVIRONMENT)/mkdocs build --quiet --strict

# Needs cargo-fuzz. Whatever a target's input does, it takes at most 2 GB and a minute.
fuzz:
	$(PYTHON) fuzz/seeds.py $(TARGETS)
	for target in $(TARGETS); do \
		cargo $(if $(filter-out none,$(SANITIZER)),+nightly) fuzz run --sanitizer $(SANITIZER) $$target -- \
			-dict=fuzz/corpus/$$target.dict -max_total_time=$(SECONDS) -rss_limit_mb=2048 -timeout=60 || exit 1; \
	done

environment:
	[ -x $(IN_ENVIRONMENT)/python ] || $(PYTHON) -m venv $(ENVIRONMENT)
	$(IN_ENVIRONMENT)/python -m pip install --quiet --upgrade '.[test,docs]'
