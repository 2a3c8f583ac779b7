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
TESTS ?= tests/infra
SCENARIO ?= default
DISTRO ?= trixie

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak bench lint format types worker resurrector redis \
        dev dev-logs dev-down down prod prod-logs prod-down test-engine site check-site molecule test-hosts conformance up preview destroy test-providers render test-cluster clean

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
	$(BIN)/python -m pytest -m "soak and not (engine or cluster)" --timeout 3000 $(ARGS)

test-engine: $(STAMP) ## Bring the Docker tiers up, hold them to their plan and harm them (needs Docker; DRILLS=full for the long form)
	$(BIN)/python -m pytest -m "engine$(if $(filter full,$(DRILLS)),, and not soak)" $(TESTS) $(ARGS)

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

dev: ## Start the development cluster on Docker, with your source mounted
	@infra/compose/cluster dev up $(ARGS)

dev-logs: ## Follow its logs
	@infra/compose/cluster dev logs --follow $(ARGS)

down: dev-down
dev-down: ## Stop it (or `make down`); ARGS=-v removes its data too
	@infra/compose/cluster dev down $(ARGS)

prod: ## Start the production cluster on Docker (needs REDIS_PASSWORD, SENTINEL_PASSWORD, GRAFANA_ADMIN_PASSWORD)
	@infra/compose/cluster prod up $(ARGS)

prod-logs: ## Follow its logs
	@infra/compose/cluster prod logs --follow $(ARGS)

prod-down: ## Stop it; its data stays
	@infra/compose/cluster prod down $(ARGS)

site: $(STAMP) ## Stand up the production tier on hosts (INVENTORY=infra/ansible/inventory/NAME/hosts.yml)
	@test -n "$(INVENTORY)" || { echo "Say which hosts: make $@ INVENTORY=infra/ansible/inventory/NAME/hosts.yml (copy a folder of inventory/sample)"; exit 1; }
	@test -e "$(INVENTORY)" || { echo "There is no inventory $(INVENTORY)."; exit 1; }
	ANSIBLE_CONFIG=infra/ansible/ansible.cfg $(BIN)/ansible-playbook -i $(INVENTORY) infra/ansible/site.yml $(ARGS)

check-site: ## Say what `make site` would change, and change nothing
	@$(MAKE) --no-print-directory site INVENTORY="$(INVENTORY)" ARGS="--check --diff $(ARGS)"

$(VENV)/.molecule: $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,molecule]'
	@touch $@

molecule: $(VENV)/.molecule ## Converge, repeat and verify on systemd hosts in containers (SCENARIO=default|ha DISTRO=bookworm|trixie)
	cd infra/ansible && PATH="$(abspath $(BIN)):$$PATH" DISTRO=$(DISTRO) molecule --base-config molecule/base.yml test --scenario-name $(SCENARIO) $(ARGS)

test-hosts: $(STAMP) ## Harm systemd hosts in containers: kills, power cuts, deployments under load (needs Docker)
	$(BIN)/python -m pytest -m hosts --timeout 3600 tests/infra/ansible $(ARGS)

conformance: $(STAMP) ## Hold a running deployment to its plan (TIER=dev|prod|k8s|bare, DESTRUCTIVE=1 kills and restores)
	$(BIN)/python -m tests.infra.conformance $(TIER) $(if $(filter 1 yes true,$(DESTRUCTIVE)),--destructive) $(ARGS)

up: $(STAMP) ## Stand up a stack with Pulumi (STACK=dev|prod|k8s|k8s-managed, ARGS=--yes)
	@infra/pulumi/stack up "$(STACK)" $(ARGS)

preview: $(STAMP) ## Say what `make up` would do; policies are held here too
	@infra/pulumi/stack preview "$(STACK)" $(ARGS)

destroy: $(STAMP) ## Remove what Pulumi made, data included
	@infra/pulumi/stack destroy "$(STACK)" $(ARGS)

test-providers: $(STAMP) ## Run real updates by Pulumi (needs its CLI, pulumi-resource-docker and Docker on PATH)
	$(BIN)/python -m pytest -m providers tests/infra/pulumi tests/infra/kubernetes --timeout 1800 $(ARGS)

render: $(STAMP) ## Write a Kubernetes stack as YAML, for people without Pulumi (STACK=k8s|k8s-managed)
	@$(BIN)/python -m infra.pulumi.render $(or $(STACK),k8s) $(ARGS)

test-cluster: $(STAMP) ## Apply the Kubernetes stack to the cluster of KUBECONFIG, hold it to its plan and harm it (DRILLS=full for all)
	$(BIN)/python -m pytest tests/infra/kubernetes -m "cluster$(if $(filter full,$(DRILLS)),, and not soak)" -s --timeout 1800 $(ARGS)

clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
