# make search   the main job: a small real search on the images that ship with the package (about 7 minutes on 2 cores, installation included)
# make test     the tests, two at a time       make check   ruff, format, mypy, import-linter, tests
# make core     compiles the core of the packed runtime (C++) anew

PYTHON ?= python3
VENV := .venv
JOBS := 2
BIN := $(VENV)/bin
NATIVE := $(wildcard bhvit/runtime/native/*)
# Without the tests of the build, and of how much memory a process takes: neither is for sanitizers and emulators.
CORE_TESTS := tests/bhvit/runtime $(patsubst %,--ignore tests/bhvit/runtime/test_%.py,build process)

.PHONY: search test test-slow test-sanitized test-arm64 check lint format core bench screens clean

search: $(VENV)/.installed
	$(BIN)/searcher search search_spaces/demo.yaml

# Files of tests side by side; `make test JOBS=0` is one after the other in this process.
test: $(VENV)/.installed-dev
	$(BIN)/pytest --numprocesses $(JOBS) --dist loadfile

test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m "not long"

# The core's tests with every access to memory, every overflow and every race of its threads watched. libstdc++ is
# preloaded too since a sanitizer must find the functions that it replaces when it starts.
sanitized = LD_PRELOAD="$$($(CXX) -print-file-name=$(2)) $$($(CXX) -print-file-name=libstdc++.so.6)" \
	ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=64 UBSAN_OPTIONS=print_stacktrace=1 \
	BHVIT_RUNTIME_LIBRARY=$(CURDIR)/build/$(1)/_core.so $(BIN)/pytest $(CORE_TESTS)

test-sanitized: $(VENV)/.installed-dev build/address/_core.so build/thread/_core.so
	$(call sanitized,address,libasan.so) -m "not long"
	$(call sanitized,thread,libtsan.so) -k thread

# The core's tests on an emulated ARM processor.
test-arm64: $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" PYTHON=$(BIN)/python tests/arm64.sh $(CORE_TESTS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit; done

# Installs anew, and with it compiles the core again.
core: $(VENV)/.installed
	BHVIT_REQUIRE_CORE=1 $(BIN)/pip install --quiet --no-deps --editable .

build/address/_core.so: SANITIZE := address,undefined
build/thread/_core.so: SANITIZE := thread
build/%/_core.so: $(NATIVE) | $(VENV)/.installed-dev
	PATH="$(abspath $(BIN)):$$PATH" cmake -S bhvit/runtime/native -B $(@D) -DBHVIT_SANITIZE=$(SANITIZE) -DBHVIT_WERROR=ON
	PATH="$(abspath $(BIN)):$$PATH" cmake --build $(@D) --parallel

# The versions are locked in constraints.txt; pyproject.toml asks for ranges.
INSTALL := $(BIN)/pip install --quiet --constraint constraints.txt --editable

# Without a C++ compiler the package installs too, and says what that means.
$(VENV)/.installed: pyproject.toml constraints.txt setup.py $(NATIVE) | $(BIN)/python
	$(INSTALL) .
	@if [ -e bhvit/runtime/_core.log ]; then head -n 1 bhvit/runtime/_core.log; echo "See bhvit/runtime/_core.log."; fi
	@touch $@

# Developers need one, so that no test is left out unnoticed.
$(VENV)/.installed-dev: pyproject.toml constraints.txt setup.py $(NATIVE) | $(BIN)/python
	BHVIT_REQUIRE_CORE=1 $(INSTALL) ".[dev]"
	@touch $(VENV)/.installed $@

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, but this is " + sys.version.split()[0] + "; call make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV): downloads about 3 GB (PyTorch), one or two minutes on a fast line ..."
	$(PYTHON) -m venv $(VENV)

# The pictures in README.md, from the committed demo study.
screens: $(VENV)/.installed-dev
	$(BIN)/python docs/screens/record.py

clean:
	rm -rf $(VENV) build dist *.egg-info bhvit/runtime/_core.* .mypy_cache .ruff_cache .pytest_cache
