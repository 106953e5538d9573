# The front door. `make help` lists what follows each target's `##`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
FORCE  ?=
BIN    := $(VENV)/bin
RUN    := $(BIN)/python

# A stamp says that its lock is installed: nothing is resolved or asked again until the lock changes.
TRAIN_STAMP := $(VENV)/.train
DEV_STAMP   := $(VENV)/.dev

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- Use ------------------------------------------------------------------------------------------

.PHONY: train
train: $(TRAIN_STAMP) ## run what isn't tracked yet of the grids, show the winner (FORCE=1 runs all; ARGS="--json")
	@$(RUN) -m scripts.train $(if $(FORCE),--force) $(ARGS)

.PHONY: ui
ui: $(TRAIN_STAMP) ## serve what was tracked at http://127.0.0.1:5000
	@$(RUN) -m scripts.ui $(ARGS)

.PHONY: run
run: $(TRAIN_STAMP) ## train as an MLflow project, through a tracking server at http://127.0.0.1:5000
	@$(RUN) -m scripts.run $(ARGS)

# --- Work on it -----------------------------------------------------------------------------------

.PHONY: test
test: $(DEV_STAMP) ## run every test
	@$(RUN) -m pytest $(ARGS)

.PHONY: bench
bench: $(DEV_STAMP) ## measure speed, memory and growth beside peers (about ten minutes; ARGS=growth for one)
	@$(RUN) -m benchmarks $(ARGS)

.PHONY: check
check: $(DEV_STAMP) ## lint, types and the direction of imports
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: format
format: $(DEV_STAMP) ## put the code in its standard form
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lock
lock: $(DEV_STAMP) ## write requirements/*.txt anew from pyproject.toml
	@$(RUN) -m scripts.lock

.PHONY: clean
clean: ## remove the environment and the caches; what was tracked in .local/ stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# --- The environment ------------------------------------------------------------------------------

$(TRAIN_STAMP): requirements/train.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $@

$(DEV_STAMP): requirements/dev.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $(TRAIN_STAMP) $@
