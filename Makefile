# Everything a reader runs. `make` alone lists the targets.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
# Relative, so that the folder's own name, whatever is in it, is never a part of a target or a command.
VENV := .venv
INFRA := var/infra-venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv

# What cannot work is refused before anything is written.
define NEWLINE


endef
UNUSABLE := $(foreach each,: % $$ { } ",$(findstring $(each),$(CURDIR)))$(if $(findstring $(NEWLINE),$(CURDIR)),line break)
ifneq ($(strip $(UNUSABLE)),)
$(error ontime cannot work in a folder whose path has a colon, a percent sign, a dollar sign, a brace, a double quote or a line break in it, which tools take for something else: rename or move $(CURDIR))
endif
ifeq ($(wildcard dvc.yaml),)
$(error ontime works in its own folder only: call make there, or make -C FOLDER)
endif

# Every line below with two hashes: no file or folder of such a name hides a target.
TARGETS := $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' Makefile)
.PHONY: $(TARGETS)

export PATH := $(CURDIR)/$(VENV)/bin:$(subst $(CURDIR)/$(VENV)/bin:,,$(PATH))
# .venv is made by a Python that is not in it, and what runs before it needs none of it.
OUTSIDE := PATH="$${PATH\#*:}" $(PYTHON)

# A user id without a name, as in `docker run --user 12345`: tools ask for the name, and for a home that is one.
ifneq ($(shell id -un > /dev/null 2>&1 || echo nameless),)
export USER := ontime
export LOGNAME := ontime
endif
ifneq ($(shell [ -x "$$HOME" ] || echo homeless),)
export HOME := $(CURDIR)/var/home
endif


# Each stage is a process of its own: what Python has compiled once it keeps, whatever the machine is told elsewhere.
export PYTHONDONTWRITEBYTECODE :=

include src/ontime/environment.mk

# A target or a value that cannot be meant is refused in one sentence, before anything is installed or done.
UNKNOWN := $(filter-out $(TARGETS) $(VENV)/.installed $(INFRA)/.installed,$(MAKECMDGOALS))
.PHONY: usage $(UNKNOWN)
usage $(UNKNOWN):
	@$(OUTSIDE) -m pipelines.usage '$(filter-out %/.installed,$(MAKECMDGOALS))'

# An environment that can be moved and copied with the folder: its scripts find their Python beside them.
$(VENV)/.installed: requirements/all.txt requirements/setup.txt $(shell [ -x $(PY) ] || echo no-python) | usage
	@$(OUTSIDE) -c 'import sys; sys.exit("ontime needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 install" if sys.version_info < (3, 11) else 0)'
	@$(OUTSIDE) -m pipelines.install $(VENV)

.PHONY: no-python
no-python:
	@[ ! -d $(VENV) ] || echo "install: the Python that $(VENV) was made with is not here any more"

$(INFRA)/.installed: $(VENV)/.installed requirements/infra.txt
	@echo "install: $(INFRA) from requirements/infra.txt (under 1 GB, the tools that check infra/)"
	@$(UV) venv --quiet --relocatable --clear --python $(PY) $(INFRA)
	@$(UV) pip sync --quiet --python $(INFRA)/bin/python --require-hashes requirements/infra.txt
	@touch $@

##@ Start

help: usage  ## list the targets
	@awk -F ':.*## ' '/^##@ / {printf "%s%s\n", gap, substr($$0, 5); gap = "\n"} /^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' Makefile

install: usage $(VENV)/.installed  ## install exactly what requirements/all.txt locks into .venv

train: install  ## raw data -> features -> models -> gate -> published release
	@$(PY) -m pipelines.training

serve: install  ## serve the release on 127.0.0.1:8000, training first when there is none
	@test -f releases/current.json || $(MAKE) train
	@$(PY) -m serving

test: install  ## run every test (needs PostgreSQL and Chromium: see README)
	@$(PY) -m pytest
	@$(if $(wildcard tests/reference),$(PY) -m pytest tests/problem tests/repository)

check: install  ## lint, types, import rules, and the repository's own rules
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check --quiet
	@$(PY) -m mypy $(if $(wildcard tests/reference),src pipelines monitoring serving)
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo
	@$(PY) -m pytest tests/repository

ui: install  ## show the pages of MLflow, Prefect and Evidently on the loopback interface, until Ctrl-C
	@$(PY) -m pipelines.ui

clean: usage  ## delete generated data, models, releases and var/ (predictions, API keys, MLflow); raw/ and .venv stay
	@$(OUTSIDE) -m ontime.locks var/workspace.lock 'make clean' $(PYTHON) -m ontime.locks var/ontime.db.lock 'make clean' rm -rf data models releases var .dvc/cache .dvc/tmp

##@ Your own problem

new-problem: install  ## a first problem from a csv or parquet: make new-problem NAME=noshows FROM=visits.csv LABEL=missed
	@$(PY) -m pipelines.new_problem "$$NAME" "$$FROM" "$$LABEL" "$$TIME"

decisions: install  ## the open decisions of a new problem: make decisions FROM=examples/noshows
	@$(PY) -m pipelines.decisions "$$FROM"

adopt: install  ## put another problem in the place of this one: make adopt FROM=examples/bikes
	@$(PY) -m pipelines.adopt "$$FROM" $(if $(REPLACE),--replace)

rename: install  ## give the project another name, everywhere: make rename NAME=punctual
	@$(PY) -m pipelines.rename $(NAME)

##@ Model

promote: install  ## serve a published release: make promote VERSION=2; FORCE=1 overrules the gate, on record
	@$(PY) -m pipelines.release promote $(VERSION) $(if $(FORCE),force)

rollback: install  ## let the release before the current one answer again
	@$(PY) -m pipelines.release rollback

shadow: install  ## let a published release score everything beside the champion: make shadow VERSION=2
	@$(PY) -m pipelines.release challenge $(VERSION) 0

canary: install  ## let a published release answer a share of the requests: make canary VERSION=2 SHARE=0.1
	@$(PY) -m pipelines.release challenge $(VERSION) $(SHARE)

withdraw: install  ## end shadow and canary
	@$(PY) -m pipelines.release withdraw

compare: install  ## champion against challenger where both have scored and the outcome is known
	@$(PY) -m pipelines.compare

reproduce: install  ## build a registered version anew, from its number alone, and compare: make reproduce VERSION=3
	@$(PY) -m pipelines.reproduce $(VERSION)

tune: install  ## search for hyperparameters inside the training period (prints them for params.yaml)
	@$(PY) -m pipelines.tune

imbalance: install  ## what class weights do to ranking, probabilities and cost, for labels of several rarities: docs/class_imbalance.md
	@$(PY) -m pipelines.imbalance

metrics: install  ## what a change does to the metrics, as markdown: make metrics BASE=origin/main
	@$(PY) -m infra.metrics_report "$${BASE:-origin/main}"

##@ Production

materialise: install  ## put what has come into the online store: features, outcomes
	@$(PY) -m pipelines.materialise

monitor: install  ## look at yesterday: figures, alerts, the policy's decision
	@$(PY) -m pipelines.monitor

performance: install  ## how good production's answers were, by day, month, release and slice: var/performance.html
	@$(PY) -m pipelines.performance_report

# Quoted, because FROM= is also a folder's name, for `make restore`.
diagnose: install  ## why the answers got worse, against the release's reference: make diagnose FROM=2013-06-01 UNTIL=2013-07-01
	@$(PY) -m pipelines.diagnose $(if $(FROM),--from "$$FROM") $(if $(UNTIL),--until $(UNTIL)) $(if $(AGAINST_FROM),--against-from $(AGAINST_FROM)) $(if $(AGAINST_UNTIL),--against-until $(AGAINST_UNTIL))

retrain: install  ## retrain if the policy has asked for it; whatever the policy thinks: make retrain NOW=1
	@$(PY) -m pipelines.retrain $(if $(NOW),now)

orchestrate: install  ## run materialise, monitor and retrain on schedule with Prefect, on 127.0.0.1:4200, until Ctrl-C
	@$(PY) -m pipelines.orchestrate

replay: install  ## a year in production on a simulated clock; two months: make replay MONTHS=2; another dataset: make replay DATASET=name
	@$(PY) -m pipelines.replay $(if $(MONTHS),--months $(MONTHS)) $(if $(FROM),--from $(FROM)) $(if $(UNTIL),--until $(UNTIL)) $(if $(DATASET),--dataset $(DATASET))

backup: install  ## all that cannot be made again into one folder: make backup TO=backups/today
	@$(PY) -m pipelines.backup make "$${TO:-backups/$$(date -u +%Y-%m-%dT%H%M)}"

restore: install  ## bring a backup back, what is there is kept beside: make restore FROM=backups/today REPLACE=1
	@$(PY) -m pipelines.backup restore "$$FROM" $(if $(REPLACE),--replace)

key: install  ## make an API key: make key NAME=desk SCOPES=predict,outcomes
	@$(PY) -m serving.keys $(NAME) $(SCOPES)

##@ Infrastructure

# python:3.11-slim-bookworm of September 2026. `make image PYTHON_DIGEST=` takes whatever has that name here.
PYTHON_DIGEST ?= sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
image: usage  ## build the three images: ontime-serve, ontime-mirror, ontime-worker (needs a container engine)
	@for name in serve mirror worker; do \
	  echo "image: ontime-$$name"; \
	  docker build --quiet --target $$name $(if $(PYTHON_DIGEST),--build-arg PYTHON_DIGEST=@$(PYTHON_DIGEST)) -t ontime-$$name . || exit 1; \
	done
	@docker images --filter reference='ontime-*' --format '{{.Repository}} {{.Size}}'

STACK := docker compose -f infra/compose.yaml $(STACK_ALSO)
stack: install  ## the whole platform in containers, on 127.0.0.1:8000: makes images and a first release where there are none
	@docker image inspect ontime-serve ontime-mirror ontime-worker > /dev/null 2>&1 || $(MAKE) image
	@$(PY) -m infra.credentials
	@$(STACK) up --detach --wait --quiet-pull --remove-orphans
	@$(STACK) run --rm --no-deps tools test -f releases/current.json || $(MAKE) stack-run DO="make train"
	@$(STACK) --profile serve up --detach --wait --quiet-pull
	@echo "stack: the service on http://127.0.0.1:8000 (key: infra/secrets/desk_key), MLflow :5000, Prefect :4200, Prometheus :9090, Grafana :3000"

stack-run: install  ## run a command in the stack's own place: make stack-run DO="make replay MONTHS=1"
	@$(STACK) run --rm --no-deps tools $(DO)

BACKUP := $(STACK) run --rm --no-deps --user "$$(id -u):$$(id -g)" backup
stack-backup: install  ## the stack's databases and buckets into infra/backups/: make stack-backup TO=today
	@mkdir -p -m 700 "$${STACK_BACKUPS:-infra/backups}"
	@$(BACKUP) make "/backups/$${TO:-$$(date -u +%Y-%m-%dT%H%M)}"

# What the worker and the services hold is thrown away as well: a release that is younger than the backup would come back
# from there, and stand in the way of another with its number.
stack-restore: install  ## bring a backup of the stack back, in place of what is there: make stack-restore FROM=today
	@$(BACKUP) verify "/backups/$$FROM"
	@$(STACK) --profile serve stop service worker mlflow push pull
	@$(BACKUP) restore "/backups/$$FROM" --replace
	@$(STACK) run --rm --no-deps tools sh -c 'rm -rf releases/* && python -m pipelines.mirror pull --all'
	@$(STACK) --profile serve run --rm --no-deps --entrypoint sh pull -c 'rm -rf releases/*'
	@$(STACK) --profile serve up --detach --wait --quiet-pull

stack-down: install  ## stop the stack and keep what it holds; to throw that away as well: make stack-down VOLUMES=1
	@$(STACK) --profile serve $(if $(VOLUMES),down --volumes,stop)

image-test: $(INFRA)/.installed  ## test the images: read-only, no capabilities, no prediction lost when killed
	@$(PY) -m pytest infra/tests/test_images.py

test-infra: $(INFRA)/.installed  ## run the tests of infra/ (needs what infra/README.md lists)
	@$(PY) -m pytest infra/tests

IMAGES := serve mirror worker
sbom: install  ## the Python packages that each image installs, as CycloneDX: var/sbom/
	@mkdir -p var/sbom
	@for image in $(IMAGES); do PYTHONWARNINGS=ignore $(PY) -m cyclonedx_py requirements requirements/$$image.txt \
		--pyproject pyproject.toml --output-reproducible --sv 1.6 --of JSON --output-file var/sbom/$$image.cdx.json || exit 1; done

# Strict, because a package that PyPI does not find is otherwise skipped, and nothing found counts as nothing wrong.
audit: $(INFRA)/.installed  ## ask PyPI for known vulnerabilities of what the images install; fails where it can not be asked
	@for image in $(IMAGES); do $(INFRA)/bin/python -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off \
		-r requirements/$$image.txt || exit 1; done

LOCK := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate
lock: install  ## renew the locks after a change in pyproject.toml (existing pins stay); to move them: make lock UPGRADE=1
	$(LOCK) $(if $(UPGRADE),--upgrade) pyproject.toml --group serve --group train --group operate --group store --group dev --group setup -o requirements/all.txt
	$(LOCK) --group serve -c requirements/all.txt -o requirements/serve.txt
	$(LOCK) --group serve --group train -c requirements/all.txt -o requirements/train.txt
	$(LOCK) --group setup -c requirements/all.txt -o requirements/setup.txt
	$(LOCK) --group serve --group mirror -c requirements/all.txt -o requirements/mirror.txt
	$(LOCK) --group serve --group train --group operate --group store -c requirements/all.txt -o requirements/worker.txt
	$(LOCK) --group bench -o requirements/bench.txt
	$(LOCK) --group infra -o requirements/infra.txt

##@ Measure

sabotage: install  ## plant one fault after another, and write which guard stops which: docs/sabotage.md
	@$(PY) -m pytest tests/sabotage --write-matrix

fuzz: install  ## throw generated requests at the service, 2000 at each route: make fuzz EXAMPLES=2000
	@$(PY) -m pytest tests/integration/test_openapi.py --examples $(or $(EXAMPLES),2000)

bench-train: install  ## time and memory of each stage, against bare csv reading and fitting
	@$(PY) -m bench.train

bench-gate: install  ## how often the gate is wrong and what it finds: 2,000 simulations a row (a quarter of an hour)
	@$(PY) -m bench.gate

bench-leaks: install  ## what one honest feature reaches, alone and in a model, and what one that knows the outcome does
	@$(PY) -m bench.leaks

bench-alarms: install  ## alerts, pages and retrainings of a year in which nothing is wrong, by simulation
	@$(PY) -m bench.alarms

bench-serve: install  ## the service under load, beside mlflow, BentoML and a bare route (needs wrk)
	@$(PY) -m bench.serve

bench-stack: install  ## uvicorn against granian, pydantic against orjson and msgspec
	@$(PY) -m bench.stack

bench-faults: install  ## kill the service and move its pointer under load: what is lost, what fails, how long it takes
	@$(PY) -m tests.e2e.faults

bench-diagnose: install  ## plant faults of known cause and ask for a diagnosis; and how often a calm fortnight gets one
	@$(PY) -m tests.sabotage.diagnoses

bench-image: install  ## seconds from `docker run` to the first ready answer (needs `make image` and a release)
	@$(PY) -m bench.image

screenshots: install  ## take the pictures of the pages anew (needs Chromium)
	@$(PY) -m tests.e2e.screenshots
