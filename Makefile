# Relier: what was pushed is committed once, whatever dies. `make help` lists the targets.
PYTHON  ?= python3
VENV    ?= .venv
BIN     := $(VENV)/bin
STAMP   := $(VENV)/.installed
QUEUES  ?= high_priority,default,low_priority,re-queue
INCLUDE ?=
CONCURRENCY ?= 8
REDIS_SERVER ?= redis-server
JOBS ?= 3

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak bench lint format types worker resurrector redis clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Relier needs Python 3.11 or newer; set PYTHON=python3.11")'
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python has no ensurepip; on Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup: $(STAMP) ## Make the virtual environment and install Relier

demo: $(STAMP) ## Kill workers under load, with Relier and with stock Celery, and compare
	$(BIN)/python -m demo $(ARGS)

test: $(STAMP) ## Run every test on a Redis of its own
	$(BIN)/python -m pytest -m "not (soak or engine or cluster or hosts or providers)" -n $(JOBS) --dist loadfile $(ARGS)

soak: $(STAMP) ## Run the long repetitions: hundreds of kills, ten failovers
	$(BIN)/python -m pytest -m soak --timeout 3000 $(ARGS)

bench: $(STAMP) ## Measure against stock Celery and the package relier 0.1.7
	$(BIN)/python -m bench $(ARGS)

lint: $(STAMP) ## Check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

worker: $(STAMP) ## Start a worker (INCLUDE=your.tasks, QUEUES=..., CONCURRENCY=8)
	$(BIN)/celery -A relier.tasks.app worker -l info -Q $(QUEUES) -c $(CONCURRENCY) $(if $(INCLUDE),--include=$(INCLUDE))

resurrector: $(STAMP) ## Start the Phoenix resurrector
	$(BIN)/rl run-resurrector

redis: ## Start a Redis with the bundled configuration in the foreground
	$(REDIS_SERVER) scripts/redis/redis.conf

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
