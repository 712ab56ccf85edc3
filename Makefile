# One command per verb. `make run` and `make test` do everything on a fresh Debian 12 machine
# that has python3, g++ and make; what else is missing they install when root, and name when not.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NATIVE_SOURCES := $(wildcard native/*.pyx native/*.pxi native/*.pxd native/*.h) setup.py
PROTOS := $(wildcard proto/tracecode/v1/*.proto)
NODE_MODULES := tests/node/node_modules

.PHONY: build native run test check bench trust soak gen clean packages faults oracles

build: native

run: build
	$(BIN)/tracecode demo

test: build check faults oracles $(NODE_MODULES)/installed
	$(BIN)/python -m pytest --ignore=tests/trust --numprocesses=2 --dist=loadfile --session-timeout=1800
	$(BIN)/python -m pytest tests/trust --session-timeout=1800

check: lint types layers contract drift stubs

# QUICK=1 loads 10^6 codes in place of 10^7 and takes some minutes; SCALE=1e8 adds 10^8 codes to what grows. Peers
# run on sockets of their own in passing folders; TIGERBEETLE may name that peer's binary.
bench: export QUICK := $(QUICK)
bench: export SCALE := $(SCALE)
bench: build $(VENV)/peers
	mkdir -p .bench
	$(BIN)/python -m pytest tests/benchmarks --results=.bench/results.json --benchmark-columns=median \
	  --timeout=7200 --verbose -s

# Every fault and attack of tests/trust, each beside its sabotaged control; their short form is part of `make test`.
MINUTES ?= 10
# What measures how fast or how flat the service is under attack or for long wants the machine for itself; all
# else runs before it, side by side. Both runs write one table, and the second is made even if the first fails.
QUIET := $(addprefix tests/trust/test_,neighbours.py restarts.py soak.py)
TRUST = $(BIN)/python -m pytest --minutes=$(MINUTES) --trust-results=.bench/trust.json --timeout=1800 --verbose
trust: build faults oracles $(VENV)/fuzz
	$(call need,test "$$(id -u)" != 0 || command -v mkfs.xfs,xfsprogs)
	mkdir -p .bench
	rm -f .bench/trust.json
	together=0; \
	$(TRUST) tests/trust $(addprefix --ignore=,$(QUIET)) --numprocesses=2 --dist=loadfile || together=$$?; \
	$(TRUST) $(QUIET) --trust-continue && exit $$together

# A service that works for half an hour, 30 minutes at most; `make trust` soaks for a tenth of its own.
SOAK_MINUTES ?= 30
soak: build
	mkdir -p .bench
	$(BIN)/python -m pytest tests/trust/test_soak.py --minutes=$(MINUTES) --soak-minutes=$(SOAK_MINUTES) \
	  --trust-results=.bench/soak.json --verbose

clean:
	rm -rf $(VENV) build .bench .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf *.egg-info server/*.egg-info native/*.cpp tracecode/_native.*.so $(NODE_MODULES)
	find tracecode server tests -name __pycache__ -prune -exec rm -rf {} +

# --- the parts of check; each can be run alone --------------------------------------------------

.PHONY: lint types layers contract drift stubs

lint: packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint native

types: packages
	$(BIN)/mypy

layers: packages
	$(BIN)/lint-imports --no-logo

# The baseline is the contract as last released, kept in the tree so that a shallow clone without
# tags or network can be checked. CONTRIBUTING.md says when to renew it.
contract: packages
	$(BIN)/buf lint
	$(BIN)/buf breaking --against proto/tracecode.v1.binpb

drift: packages
	$(call generate,build/drift)
	diff --recursive --brief --exclude=__pycache__ build/drift/tracecode/v1 tracecode/v1 \
	  || { echo "tracecode/v1 is not what proto/ generates: run 'make gen' and commit the result" >&2; exit 1; }

stubs: native
	$(BIN)/stubtest tracecode._native --mypy-config-file pyproject.toml \
	  --ignore-disjoint-bases --allowlist native/stubtest.allowlist

# --- generated code: nothing else may write in tracecode/v1 -------------------------------------

define generate
	rm -rf $(1) && mkdir -p $(1)
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m grpc_tools.protoc --proto_path=proto \
	  --python_out=$(1) --mypy_out=quiet:$(1) $(PROTOS)
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m grpc_tools.protoc --proto_path=proto \
	  --grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(filter %_service.proto,$(PROTOS))
	echo '"""Generated from proto/tracecode/v1 by `make gen`; never edited by hand."""' > $(1)/tracecode/v1/__init__.py
endef

gen: packages
	$(call generate,build/gen)
	rm -rf tracecode/v1
	mv build/gen/tracecode/v1 tracecode/v1

# --- what the verbs stand on --------------------------------------------------------------------

# need: $(1) a command that succeeds when the thing is there, $(2) the Debian packages that bring it.
define need
	@{ $(1); } >/dev/null 2>&1 || if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing $(2)"; apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(2) >/dev/null; \
	else \
	  echo "make: this machine lacks $(2); as root: apt-get install $(2)" >&2; exit 1; \
	fi
endef

# The lock is this file itself, so that two makes in one checkout wait for each other, and the
# second one, looking afresh, finds the work done.
packages:
	@flock Makefile $(MAKE) --silent $(VENV)/packages

native: packages
	@flock Makefile $(MAKE) --silent $(VENV)/native

# The stamp bears the time the build began: a source saved meanwhile is built the next time.
# make has decided that a build is due, so neither Cython nor setuptools may decide otherwise.
$(VENV)/native: $(NATIVE_SOURCES)
	touch $@.begun
	CYTHON_FORCE_REGEN=1 $(BIN)/python setup.py --quiet build_ext --force --inplace --build-temp build/temp
	mv $@.begun $@

# The editable install leaves the extension to the rule above, which builds it once.
$(VENV)/packages: pyproject.toml
	$(call need,command -v $(PYTHON),python3)
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("tracecode needs Python 3.11 or later; say which: make PYTHON=python3.11")'
	$(call need,$(PYTHON) -c 'import ensurepip',python3-venv)
	$(call need,test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h",python3-dev)
	$(call need,command -v g++,g++)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	touch $@.begun
	$(BIN)/python -m pip install --quiet 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --group dev
	PYTHONWARNINGS=ignore TRACECODE_NATIVE=0 $(BIN)/python -m pip install --quiet --no-build-isolation --editable .
	mv $@.begun $@

# What tests/trust inject faults with. Only root can mount a file system whose power is to be cut.
faults:
	$(call need,command -v strace,strace)
	$(call need,test "$$(id -u)" != 0 || command -v mkfs.ext4,e2fsprogs)

# Go's transparency log, which tests hold ours against.
oracles:
	$(call need,command -v go,golang-go)
	$(call need,test -e /usr/share/gocode/src/golang.org/x/mod/sumdb/note/note.go,golang-golang-x-mod-dev)

# What benchmarks are measured against, and what their load generators are made of. Debian would start the
# servers it installs; RUNLEVEL keeps them still.
$(VENV)/peers: export RUNLEVEL := 1
$(VENV)/peers: pyproject.toml | build
	$(call need,ls /usr/lib/postgresql/*/bin/initdb || command -v initdb,postgresql)
	$(call need,command -v redis-server,redis-server)
	$(call need,test -e /usr/include/nghttp2/nghttp2.h,libnghttp2-dev)
	$(call need,test -e /usr/include/lmdb.h,liblmdb-dev)
	$(BIN)/python -m pip install --quiet --group bench
	touch $@

# The native code once more, with coverage counters and sanitizers: only what is fuzzed for long needs it.
$(VENV)/fuzz: $(NATIVE_SOURCES) tests/trust/native_fuzz/fuzz.pxi tests/trust/native_fuzz/build.py | build
	$(call need,command -v clang++-14,clang-14)
	$(call need,ls /usr/lib/llvm-14/lib/clang/*/lib/linux/libclang_rt.asan-x86_64.so,libclang-rt-14-dev)
	touch $@.begun
	$(BIN)/python tests/trust/native_fuzz/build.py
	mv $@.begun $@

# One test is a program in JavaScript that knows nothing of tracecode but proto/.
$(NODE_MODULES)/installed: tests/node/package.json
	$(call need,command -v node && command -v npm,nodejs npm)
	npm --prefix tests/node install --no-package-lock --no-audit --no-fund --loglevel=error
	touch $@
