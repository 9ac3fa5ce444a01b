# The only menu: people, .ci/run and .github/workflows/ci.yml all use these targets.
# Tools come from .venv, made from requirements.lock; nothing is installed beside it.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-compose test-stack chaos chaos-events check bench bench-queue bench-jobs bench-events bench-metrics bench-scale up lock clean .venv

PYTHON ?= python3
# Looked up before .venv goes in front of PATH, so that .venv is never made from itself.
PYTHON_FOUND := $(shell command -v $(PYTHON))
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv ## See it work: a bus, workers and jobs on this machine, then all gone again
	@python examples/demo.py

test: .venv ## Run every test, with ENGINE=26.1 on that one; what is missing is skipped with its reason
	@$(if $(filter-out 26.1,$(ENGINE)),$(error ENGINE may be 26.1, or nothing for the one of this machine))
	$(if $(ENGINE),python tests/engine26.py,pytest) -n 3 --dist loadfile --no-loadscope-reorder

chaos: .venv ## Kill workers, Redis and the Engine under 1,000 jobs each and see that none is lost (half an hour)
	@CHAOS_JOBS="$${CHAOS_JOBS:-1000}" CHAOS_TRIALS="$${CHAOS_TRIALS:-200}" \
	  pytest -q --durations=0 --durations-min=1 tests/e2e/test_chaos.py tests/e2e/test_shutdown.py

chaos-events: .venv ## Break all between the Engine and the bus for 20,000 events and see that none is missed (20 minutes)
	@CHAOS_EVENTS="$${CHAOS_EVENTS:-20000}" pytest -q -s tests/e2e/test_chaos_events.py

test-compose: .venv ## Build the images, bring the deployment up, load, scale and kill it on Engine 26.1 (four minutes, as root on Debian)
	@DOCKBUS_CI=1 pytest -q tests/composed/test_system.py

test-stack: .venv ## Bring the Swarm stack up on two Engines 26.1, cut the power of one, and see that no job is lost (eight minutes, as root on Debian)
	@PYTHONPATH=tests python -m composed.swarm
	python tests/engine26.py -q tests/composed/check_stack.py

check: .venv ## Lint, format, types, import contracts and docs: what CI demands besides the tests
	@say() { echo "==> $$*"; "$$@"; }
	say ruff check
	say ruff format --check
	say mypy
	say pyright
	say lint-imports
	say pytest -q tests/unit/test_docs.py

bench: .venv ## Run the benchmarks
	@for file in benchmarks/*.py; do echo "==> $$file"; python "$$file"; done

bench-queue: .venv ## Run the benchmark of the queue beside stock RQ (two minutes, no Engine)
	@python benchmarks/job_queue.py

bench-jobs: .venv ## Run the benchmark of run, pull and build jobs beside the docker command (half an hour, as root on Debian)
	@python benchmarks/jobs.py

bench-events: .venv ## Run the benchmark of the watch over an Engine (five minutes on a machine that is otherwise idle)
	@python benchmarks/events.py

bench-metrics: .venv ## Run the benchmark of the metrics worker on both kinds of Engine, beside the docker SDK (ten minutes, as root)
	@python benchmarks/metrics.py

bench-scale: .venv ## Run the benchmark of more workers and more Engines (five minutes, as root)
	@python benchmarks/scale.py

up: .venv ## Run the whole bus here until Ctrl-C
	@dockbus up

lock: ## Write requirements.lock and those of deploy/ anew from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv on PATH: pip install uv" >&2; exit 1; }
	lock() { uv pip compile --universal --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet "$$@"; }
	image=(--python-version 3.13 -c requirements.lock)
	lock pyproject.toml --python-version 3.11 --all-extras --group dev -o requirements.lock
	lock pyproject.toml "$${image[@]}" --extra producer --extra workers --extra otel -o deploy/requirements.lock
	printf '%s\n' hatchling watchfiles | lock - "$${image[@]}" -o deploy/tools.lock

clean: ## Remove .venv and every cache
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache dist
	find . -name __pycache__ -prune -exec rm -rf {} +

.venv: .venv/.done

# A file inside, not the folder itself: an interrupted installation must not look finished.
.venv/.done: requirements.lock pyproject.toml
	@"$(PYTHON_FOUND)" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
	  echo "dockbus needs Python 3.11 or newer with venv (Debian: apt install python3-venv)." \
	    "'$(PYTHON)' is not that; name one that is: make PYTHON=python3.12" >&2; exit 1; }
	echo "==> installing requirements.lock into .venv (half a minute, once)"
	"$(PYTHON_FOUND)" -m venv .venv
	pip install --quiet --require-hashes -r requirements.lock
	pip install --quiet --no-deps --no-build-isolation -e .
	touch $@

.ONESHELL:
