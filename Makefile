# make search   the main job: a small real search on the images that ship with the package (about 7 minutes on 2 cores, installation included)
# make test     the tests                      make check   ruff, format, mypy, import-linter, tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: search test test-slow check lint format bench screens clean

search: $(VENV)/.installed
	$(BIN)/searcher search search_spaces/demo.yaml

test: $(VENV)/.installed-dev
	$(BIN)/pytest

test-slow: $(VENV)/.installed-dev
	$(BIN)/pytest -m "not long"

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

# The versions are locked in constraints.txt; pyproject.toml asks for ranges.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, but this is " + sys.version.split()[0] + "; call make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV): downloads about 3 GB (PyTorch), one or two minutes on a fast line ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

# The pictures in README.md, from the committed demo study.
screens: $(VENV)/.installed-dev
	$(BIN)/python docs/screens/record.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
