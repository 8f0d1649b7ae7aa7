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

.PHONY: help build test test-rust test-python test-long test-arm test-miri lint interface bench docs site fuzz wheel release environment

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r target text; do \
		printf '%-14s %s\n' "$$target" "$$text"; done

build: ## the program specdec, in target/release
	cargo build --release

# SPECDEC_LONG=1 tests at full length, which takes hours: random requests and hostile input in great numbers, fuzzers, undefined
# behaviour, all tests for 64-bit Arm, and what README.md says on bare systems.
test: test-rust test-python $(if $(SPECDEC_LONG),test-long) ## all tests

test-long: fuzz test-miri
	$(MAKE) test-arm OPTIONS=--all
	$(MAKE) wheel
	packaging/bare_debian.sh target/wheel/*.whl

test-rust: ## the tests of the Rust code
	cargo test --workspace $(TEST_PROFILE) --features specdec_rs/python --no-fail-fast $(if $(SPECDEC_SHARED),-- --include-ignored)

test-python: environment ## the tests of the Python package, the server and the program
	$(IN_ENVIRONMENT)/python -m pytest

# Installs an emulator and a cross compiler, where apt-get can. OPTIONS=--all runs all tests of the workspace.
test-arm: ## the kernels' tests for 64-bit Arm, emulated
	.ci/arm $(OPTIONS)

# Needs a nightly toolchain with the component miri, which knows neither vector instructions nor memory in huge pages.
test-miri: ## threads and recurrent states, checked for undefined behaviour
	MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks" PROPTEST_CASES=2 cargo +nightly miri test -p specdec_backend --lib -- \
		cpu::pool cpu::rows recurrent best::

lint: environment ## formatting, lints, types, spelling and the crates' licenses
	cargo fmt --all --check
	cargo clippy --workspace $(LINT_PROFILE) --features specdec_rs/python --all-targets -- -D warnings
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	CARGO_TARGET_DIR=target cargo clippy --locked --manifest-path fuzz/Cargo.toml $(LINT_PROFILE) -- -D warnings
	$(IN_ENVIRONMENT)/ruff format --check .
	$(IN_ENVIRONMENT)/ruff check .
	$(IN_ENVIRONMENT)/mypy
	$(IN_ENVIRONMENT)/python -m mypy.stubtest specdec_rs --mypy-config-file pyproject.toml --allowlist .ci/stubtest-allowed.txt
	$(IN_ENVIRONMENT)/typos
	$(PYTHON) packaging/licences.py

# Needs cargo-semver-checks. BASELINE names a commit; by default it is the last version that was released.
BASELINE ?= $(shell git describe --tags --match 'v*' --abbrev=0 2>/dev/null)
interface: ## whether the libraries' interfaces changed more than the version says
	$(if $(BASELINE),cargo semver-checks --default-features -p specdec_backend -p specdec_rs --baseline-rev $(BASELINE),@echo "Nothing was released yet: BASELINE can name a commit.")

bench: ## benchmarks
	cargo bench --workspace

docs: ## the reference of the Rust library, in target/doc
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --features specdec_rs/python

# The pages of docs/, as a site in target/site. The package itself is not built for it, but Python must be 3.11 or newer.
DOCS_REQUIREMENTS = import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")

site: ## the documentation as a site, in target/site
	[ -x $(IN_ENVIRONMENT)/python ] || $(PYTHON) -m venv $(ENVIRONMENT)
	$(IN_ENVIRONMENT)/python -c '$(DOCS_REQUIREMENTS)' > target/docs-requirements.txt
	$(IN_ENVIRONMENT)/python -m pip install --quiet --requirement target/docs-requirements.txt
	NO_MKDOCS_2_WARNING=1 $(IN_ENVIRONMENT)/mkdocs build --quiet --strict

wheel: ## a wheel, in target/wheel, which is installed elsewhere and answers
	rm -rf target/wheel
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir target/wheel .
	$(PYTHON) packaging/check_wheel.py target/wheel/*.whl --environment target/wheel/clean

# OPTIONS are those of packaging/release.py. Python must be 3.11 or newer.
release: ## the files of a release for this machine, in dist
	$(PYTHON) -m venv target/packaging-python
	target/packaging-python/bin/python -m pip install --quiet --requirement packaging/requirements.txt
	target/packaging-python/bin/python packaging/release.py $(OPTIONS)

# Needs cargo-fuzz. Whatever a target's input does, it takes at most 2 GB and a minute.
fuzz: ## fuzz each of TARGETS for SECONDS
	$(PYTHON) fuzz/seeds.py $(TARGETS)
	for target in $(TARGETS); do \
		cargo $(if $(filter-out none,$(SANITIZER)),+nightly) fuzz run --sanitizer $(SANITIZER) $$target -- \
			-dict=fuzz/corpus/$$target.dict -max_total_time=$(SECONDS) -rss_limit_mb=2048 -timeout=60 || exit 1; \
	done

environment: ## the package and what its tests need, in target/python
	[ -x $(IN_ENVIRONMENT)/python ] || $(PYTHON) -m venv $(ENVIRONMENT)
	$(IN_ENVIRONMENT)/python -m pip install --quiet --upgrade '.[test,docs]'
