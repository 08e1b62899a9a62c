# Everyday commands; `make help` lists them. All they need is Python 3.11 or later and make.

PYTHON ?= python3
ARGS =
SEEDS = 1000
N = 20

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help run test check lint types imports coverage format interop simulate crash-test bench clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.run ## run the broker on 127.0.0.1:5672 (flags in ARGS)
	$(BIN)/leveret serve $(ARGS)

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

interop: $(VENV)/.run ## real clients against leveret (or BROKER=amqp://...)
	"$(PYTHON)" interop/run $(ARGS)

simulate: $(VENV)/.test ## play SEEDS=1000 stories of clients and crashes (or the one of SEED=n)
	PYTHONPATH=tests/support $(BIN)/python -P -m simulation --seeds $(SEEDS) $(if $(SEED),--seed $(SEED)) $(ARGS)

crash-test: $(VENV)/.run ## kill -9 a leveret under load, N=20 times
	"$(PYTHON)" interop/run crash-test --rounds $(N) $(ARGS)

bench: $(VENV)/.run ## measure (the benchmark's flags in ARGS)
	$(BIN)/python benchmarks/run.py $(ARGS)

clean: ## remove everything that these commands made
	rm -rf $(VENV) .venv-interop build dist *.egg-info .pytest_cache .hypothesis .ruff_cache .import_linter_cache
	rm -rf .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment, filled as far as a command needs; the stamps say how far it is.
$(VENV)/.run: pyproject.toml | $(VENV)/.made
	$(PIP) install --editable .
	touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.made
	$(PIP) install --editable '.[test]'
	touch $(VENV)/.run $@

$(VENV)/.check: pyproject.toml | $(VENV)/.made
	$(PIP) install --editable '.[test,check]'
	touch $(VENV)/.run $(VENV)/.test $@

# The link is for the type checker, see pyproject.toml.
$(VENV)/.made:
	@"$(PYTHON)" -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "leveret needs Python 3.11 or later: make PYTHON=...")'
	"$(PYTHON)" -m venv $(VENV)
	mkdir -p $(VENV)/links && ln -sfn ../.. $(VENV)/links/leveret
	touch $@
