# Everyday commands; `make help` lists them. All they need is Python 3.11 or later and make.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 5672

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help run test check lint types imports coverage format interop bench clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## run the broker (HOST, PORT; further flags in ARGS)
	$(BIN)/leveret serve --host $(HOST) --port $(PORT) $(ARGS)

test: $(VENV)/.test ## run the tests (pytest's flags in ARGS)
	$(BIN)/pytest $(ARGS)

check: lint types imports coverage ## everything a change must pass

lint: $(VENV)/.check
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.check
	$(BIN)/basedpyright

imports: $(VENV)/.check
	$(BIN)/lint-imports

coverage: $(VENV)/.check
	$(BIN)/pytest --cov --cov-report=term $(ARGS)

format: $(VENV)/.check ## let ruff fix and format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

interop: $(VENV)/.run ## real clients against leveret (or against BROKER)
	$(if $(BROKER),BROKER=$(BROKER)) interop/run $(ARGS)

bench: $(VENV)/.run ## measure (the benchmark's flags in ARGS)
	$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove everything that these commands made
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	rm -rf .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment, filled as far as the command needs. The stamps say how far it is.
$(VENV)/.run: pyproject.toml
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "leveret needs Python 3.11 or later: make PYTHON=...")'
	test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(PIP) install --editable .
	mkdir -p $(VENV)/links && ln -sfn ../.. $(VENV)/links/leveret
	touch $@

$(VENV)/.test: $(VENV)/.run
	$(PIP) install --editable '.[test]'
	touch $@

$(VENV)/.check: $(VENV)/.test
	$(PIP) install --editable '.[test,check]'
	touch $@
