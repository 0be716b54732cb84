# Every target sets up what it needs. `make help` lists them.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO := runs/demo
FLEET_DEMO := runs/fleet-demo
EXPORTS := runs/exports
# What a device lends the job. Training the large model takes twice that.
DEMO_QUOTA_BYTES := 2000000

.DEFAULT_GOAL := help
.PHONY: help setup demo fleet-demo test test-formats test-flower lint bench drills exports clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv
	@echo "ready in .venv"

demo: $(STAMP) ## train a fleet in simulation and write runs/demo
	@if [ -e $(DEMO) ]; then echo "starting $(DEMO) afresh"; rm -rf $(DEMO); fi
	@$(BIN)/distilfleet run koala --seed 1 --memory-quota-bytes $(DEMO_QUOTA_BYTES) --out $(DEMO)

fleet-demo: $(STAMP) ## one server and eight agents as processes, over TLS; two minutes, 4 GB
	@if [ -e $(FLEET_DEMO) ]; then echo "starting $(FLEET_DEMO) afresh"; rm -rf $(FLEET_DEMO); fi
	@$(BIN)/python -m distilfleet.service.demo $(FLEET_DEMO)

test: lint ## lint, then every test
	@$(BIN)/pytest -q -n 3 --dist worksteal

test-flower: ## a run over a real Flower federation on loopback, in an environment of its own; five minutes
	@rm -rf .venv-flower
	@$(PYTHON) -m venv .venv-flower
	@.venv-flower/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	@.venv-flower/bin/python -m pip install --quiet --disable-pip-version-check flwr==1.42.0 pytest hypothesis -e '.[train]'
	@.venv-flower/bin/pytest -q tests/test_flower.py

lint: $(STAMP) ## style, types and the direction of imports
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-cache > .venv/imports.log 2>&1 || { cat .venv/imports.log; exit 1; }

test-formats: ## the tests of readers of data whose libraries are large, in a folder of their own
	@rm -rf .venv-formats
	@$(PYTHON) -m venv .venv-formats
	@.venv-formats/bin/python -m pip install --quiet --disable-pip-version-check \
		-e '.[audio,signals,arrays,wfdb,tables,hub,ts,dev]' Pillow
	@.venv-formats/bin/pytest -q -rs tests/data/test_array_files.py tests/data/test_recordings.py

bench: $(STAMP) ## measure speed and memory
	@$(BIN)/python benchmarks/run_all.py

drills: $(STAMP) ## kill server and agents 200 times; some minutes
	@rm -rf runs/drills
	@$(BIN)/python benchmarks/drills.py --kills 200 --out runs/drills

exports: ## every export in its own runtime, in an environment of its own; some minutes, 3 GB
	@rm -rf $(EXPORTS)
	@$(PYTHON) -m venv $(EXPORTS)/venv
	@$(EXPORTS)/venv/bin/python -m pip install --quiet --disable-pip-version-check \
		-e '.[train,onnx,executorch,ncnn,gguf]' pytest ai-edge-litert litert-torch emlearn
	@$(EXPORTS)/venv/bin/python -m pip install --quiet --disable-pip-version-check --upgrade typing-extensions
	@if command -v npm > /dev/null; then \
		npm install --silent --no-audit --no-fund --prefix $(EXPORTS)/llama node-llama-cpp@3.22.1; fi
	@LLAMA=$(CURDIR)/$(EXPORTS)/llama $(EXPORTS)/venv/bin/python -m pytest -q -W ignore tests/export_runtimes

clean: ## remove .venv, caches and the demo, and no other run
	@rm -rf .venv .venv-formats .venv-flower $(DEMO) $(FLEET_DEMO) build dist src/*.egg-info
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + 2> /dev/null || true

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || { \
		echo "distilfleet needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2> /dev/null || echo missing)." >&2; \
		echo "Install one and name it: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { \
		echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "installing into .venv (once; about two minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,net,plot,track,audio,signals,arrays,onnx,dev]'
	@touch $@
