# Two commands do all the set-up: `make demo` and `make test`. Both create .venv on first use.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
BENCH_STAMP := $(VENV)/.bench-installed
# One worker more than cores: a quarter of the tests' time is waiting for processes.
WORKERS ?= $(shell echo $$(($$(getconf _NPROCESSORS_ONLN) + 1)))

.PHONY: help demo test lint types protos bench bench-results bench-kernels wheel-check clean

help: ## Show what can be made
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Ratewright needs Python 3.11 or newer; set PYTHON=… to one") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@echo 'compiling the kernels, once (about a minute)'
	$(BIN)/python -m rating_server.warm
	@touch $@

demo: $(STAMP) ## Run the main job end to end on the embedded store: a month of 1,000,000 records to exact statements
	$(BIN)/ratewright demo

test: $(STAMP) ## Run all tests (they start and stop their own servers and stores)
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope --no-loadscope-reorder $(TESTS)

lint: $(STAMP) ## Style, import contracts, proto lint, stub drift
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python protos/generate.py --check

types: $(STAMP) ## Static types (mypy strict)
	$(BIN)/mypy

protos: $(STAMP) ## Regenerate the stubs from protos/
	$(BIN)/python protos/generate.py

$(BENCH_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	@touch $@

bench: $(BENCH_STAMP) ## Run the benchmarks beside their peers; BENCH='core --json' runs one
	$(BIN)/python -m benchmarks $(BENCH)

bench-results: $(BENCH_STAMP) ## Run all of them, write benchmarks/results, README tables and plot
	$(BIN)/python -m benchmarks --save
	$(BIN)/python -m benchmarks report

bench-kernels: $(BENCH_STAMP) ## Run the kernels' pytest-benchmark groups
	$(BIN)/python -m pytest -q benchmarks --benchmark-enable

wheel-check: $(STAMP) ## Install the wheel into empty environments elsewhere, use its client, run its demo
	$(BIN)/python tests/contract/check_wheel.py

clean: ## Remove the virtual environment and all caches
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
