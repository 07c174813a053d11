# Every target says in one line of `make help` what it does. The package index is the environment's choice: uv does not
# read pip's configuration, so what pip is told there is handed on.
PYTHON ?= python3
BIN := .venv/bin
SHIPPED := schemas adapters worker simulator training cli
CODE := $(SHIPPED) benchmarks deploy tests
export UV_DEFAULT_INDEX ?= $(shell $(PYTHON) -m pip config get global.index-url 2>/dev/null)
ifeq ($(strip $(UV_DEFAULT_INDEX)),)
unexport UV_DEFAULT_INDEX
endif

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-unit lint types layers check format schemas docs lock wheel-check manifests image-check demo-model demo-tables bench-quick faults-quick faults soak clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: .venv/.complete ## create .venv with ecg-worker and everything it needs

.venv/.complete: requirements-dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
		|| { echo "Python 3.11 to 3.13 is needed; name one with: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --only-binary :all: --require-hashes --compile-bytecode \
		-r requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup ## run the whole system on this machine and show what it found (build/demo/)
	@$(BIN)/ecg-worker demo --out build/demo

test: setup ## run every test that this machine can run, on a real Kafka broker too
	$(BIN)/python -m pytest

test-unit: setup ## run the quick tests, two processes at a time (a minute and a half)
	$(BIN)/python -m pytest tests/unit -m "not slow" --numprocesses 2 --dist loadfile

lint: setup ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## check types
	$(BIN)/mypy --no-pretty --hide-error-context

layers: setup ## check that imports run one way
	$(BIN)/python -m pytest -q tests/unit/test_layers.py

check: lint types layers test ## all of the above checks

format: setup ## bring the code into the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schemas: setup ## write schemas/json/ and the tables in docs/ anew
	$(BIN)/python -m schemas.publish

docs: setup ## write what docs/ takes from the code anew: settings, rooms
	$(BIN)/python -m cli.settings_page
	$(BIN)/python -m deploy.checks.house

lock: setup ## resolve the exact versions of all packages anew
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
		pyproject.toml --extra training --group dev -c requirements.lock -o requirements-dev.lock
	for list in deploy/requirements-build deploy/checks/requirements-tools deploy/checks/requirements-checkov; do \
		$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --python-version 3.11 \
			$$list.in -o $$list.lock || exit 1; done

wheel-check: setup ## build the wheel, install it without the lock into an empty environment, run its demo (4 minutes on two busy cores)
	$(BIN)/python -m deploy.checks.wheel

manifests: setup ## render deploy/overlays/ and check them, on a real Kubernetes API server too
	$(BIN)/python -m deploy.checks.manifests

image-check: setup ## check the Dockerfile, build the image and run it as a cluster would (15 minutes, 30 GB)
	$(BIN)/python -m deploy.checks.image

demo-model: setup ## make the demo model again from random weights, seeded (an hour and a half on two cores)
	$(BIN)/python -m training.models.demo_recipe build/demo-model

demo-tables: demo-model ## evaluate it, its rivals and its controls: the tables of docs/model.md (an hour on two cores)
	$(BIN)/python -m training.models.demo_recipe build/demo-model control tables

bench-quick: setup ## measure decoding, rendering and the vision encoder on this machine (3 minutes)
	$(BIN)/python -m benchmarks.records
	$(BIN)/python -m benchmarks.simulator
	$(BIN)/python -m benchmarks.vision

faults-quick: setup ## kill, freeze and cut off workers and brokers, and count what becomes of every record (10 minutes)
	$(BIN)/python -m tests.faults quick

faults: setup ## the same in full: hundreds of faults, a million records (a day); build/faults/ keeps the figures
	$(BIN)/python -m tests.faults all
	$(BIN)/python -m tests.faults table

MINUTES ?= 240
soak: setup ## hours of ordinary work, watching for lost records and for growth (MINUTES=240)
	$(BIN)/python -m tests.faults soak --minutes $(MINUTES)

clean: ## remove what was built, but not .venv
	rm -rf build dist
