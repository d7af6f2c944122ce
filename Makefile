# Everything a person types. `make help` lists it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SIZE ?= demo
PORT ?= 8000
PLACEMENT ?=
API ?=
TEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup lint format test test-all demo serve page bench bench-peers docs clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## Make .venv with everything that demo and tests need

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version 2>&1). Try: make setup PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the environment into $(VENV): about 7 GB, a few minutes."
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

lint: setup  ## Format check, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup  ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: setup  ## The tests without the slow ones, at most ten minutes on two cores
	$(BIN)/pytest -m "not slow and not browser and not gpu" $(TEST_ARGS)

test-all: setup  ## The slow ones and the browser's, too; REQUIRE_ALL=1 turns missing system programs into failures
	$(BIN)/pytest -m "slow or browser or gpu" $(TEST_ARGS)

demo: setup  ## Simulated shop, whole pipeline, server, page and a first recommendation (SIZE=demo|debug, PORT=8000)
	@$(BIN)/python -m ray_apps.demo --size $(SIZE) --port $(PORT) $(if $(PLACEMENT),--placement $(PLACEMENT))

serve: setup  ## Serve the production bundle (PLACEMENT=staged|tiered|fused, PORT=8000)
	@$(BIN)/python -m ray_apps.serve --placement $(or $(PLACEMENT),staged) --port $(PORT)

page: setup  ## The demo page for a server that runs already (API=http://127.0.0.1:8000)
	@$(BIN)/python -m demo_page $(if $(API),--api $(API))

bench: setup  ## Every benchmark; figures as JSON under var/benchmarks
	@mkdir -p var/benchmarks
	@for program in training demo serving backends online; do $(BIN)/python -m benchmarks.$$program --json var/benchmarks/$$program.json || exit 1; done

bench-peers: setup  ## Environments of the servers that `make bench` measures beside ours: Triton and ONNX Runtime, about 6 GB
	@test -x var/peers/triton/bin/python || $(PYTHON) -m venv var/peers/triton
	var/peers/triton/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement benchmarks/peers/triton/requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target var/peers/onnx --requirement benchmarks/peers/onnx/requirements.txt

docs: setup  ## Regenerate the generated parts of docs/
	$(BIN)/python -m docs.generate

clean:  ## Remove everything generated (var/), keep the environment
	rm -rf var
