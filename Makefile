# Every command of the project. `make` alone lists the targets.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
# Relative, so that the folder's own name is never part of a target or a command, whatever characters it has.
VENV := .venv
INFRA := var/infra-venv
DOCS := var/docs-venv
# Those with packages of their own, in requirements/dask.txt and spark.txt.
ENGINES := dask spark
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv
ONTIME := $(PY) -m cli

# Fail early in a folder that the tools cannot handle.
define NEWLINE


endef
UNUSABLE := $(foreach each,: % $$ { } ",$(findstring $(each),$(CURDIR)))$(if $(findstring $(NEWLINE),$(CURDIR)),line break)
ifneq ($(strip $(UNUSABLE)),)
$(error ontime cannot work in a folder whose path has a colon, a percent sign, a dollar sign, a brace, a double quote or a line break in it, which tools take for something else: rename or move $(CURDIR))
endif
ifeq ($(wildcard dvc.yaml),)
$(error ontime works in its own folder only: run make there, or make -C FOLDER)
endif

# Every target with help text is phony, so that no file or folder of the same name hides it.
TARGETS := $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' Makefile)
.PHONY: $(TARGETS)

export PATH := $(CURDIR)/$(VENV)/bin:$(subst $(CURDIR)/$(VENV)/bin:,,$(PATH))
# The Python outside of .venv, which creates it and runs everything that comes before.
OUTSIDE := PATH="$${PATH\#*:}" $(PYTHON)

# A user id without a name, as in `docker run --user 12345`: tools need a user name and a usable home directory.
ifneq ($(shell id -un > /dev/null 2>&1 || echo nameless),)
export USER := ontime
export LOGNAME := ontime
endif
ifneq ($(shell [ -x "$$HOME" ] || echo homeless),)
export HOME := $(CURDIR)/var/home
endif


# Each stage is a separate process: keep Python's bytecode cache, even if the caller's environment disables it.
export PYTHONDONTWRITEBYTECODE :=

include src/ontime/environment.mk

# Reject an unknown target or an invalid value with one sentence, before anything is installed or run.
UNKNOWN := $(filter-out $(TARGETS) $(VENV)/.installed $(VENV)/.installed-% $(INFRA)/.installed $(DOCS)/.installed,$(MAKECMDGOALS))
.PHONY: usage $(UNKNOWN)
usage $(UNKNOWN):
	@$(OUTSIDE) -m pipelines.tools.usage '$(filter-out %/.installed,$(MAKECMDGOALS))'

# A relocatable environment: it can be moved and copied with the folder, because its scripts find Python beside them.
$(VENV)/.installed: requirements/all.txt requirements/setup.txt pipelines/tools/install.py $(shell [ -x $(PY) ] || echo no-python) | usage
	@$(OUTSIDE) -c 'import sys; sys.exit("ontime needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 install" if sys.version_info < (3, 11) else 0)'
	@$(OUTSIDE) -m pipelines.tools.install $(VENV)

$(VENV)/.installed-%: $(VENV)/.installed requirements/%.txt
	@$(OUTSIDE) -m pipelines.tools.install $(VENV) $*

.PHONY: no-python
no-python:
	@[ ! -d $(VENV) ] || echo "install: the Python that created $(VENV) no longer exists"

$(INFRA)/.installed: $(VENV)/.installed requirements/infra.txt
	@echo "install: $(INFRA) from requirements/infra.txt (under 1 GB, the tools that check infra/)"
	@$(UV) venv --quiet --relocatable --clear --python $(PY) $(INFRA)
	@$(UV) pip sync --quiet --python $(INFRA)/bin/python --require-hashes requirements/infra.txt
	@touch $@

# The documentation describes the code, so this environment also sees this folder and the packages of .venv.
$(DOCS)/.installed: $(VENV)/.installed requirements/docs.txt
	@echo "install: $(DOCS) from requirements/docs.txt (170 MB, what builds the documentation)"
	@$(UV) venv --quiet --relocatable --clear --python $(PY) $(DOCS)
	@$(UV) pip sync --quiet --python $(DOCS)/bin/python --require-hashes requirements/docs.txt
	@cd $(DOCS)/lib/python* && printf '../../../../../%s\n' src . "$(VENV)/lib/$${PWD##*/}/site-packages" > site-packages/project.pth
	@touch $@

##@ Start

help: usage  ## list the targets
	@awk -F ':.*## ' '/^##@ / {printf "%s%s\n", gap, substr($$0, 5); gap = "\n"} /^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' Makefile

# ENGINE=dask or spark runs partitions on that engine, whose packages are installed first: docs/engines.md.
ifneq ($(ENGINE),)
export ONTIME_ENGINE := $(ENGINE)
endif
install: usage $(VENV)/.installed $(patsubst %,$(VENV)/.installed-%,$(filter $(ENGINES),$(ENGINE)))  ## install exactly the packages locked in requirements/all.txt into .venv; those of an engine too: make install ENGINE=dask

install-candidates: usage $(VENV)/.installed-candidates  ## also install XGBoost, CatBoost, Keras and JAX (700 MB), which some candidates need: docs/models.md

train: install  ## run the pipeline: raw data -> features -> models -> gate -> published release; partitions on Dask or Spark: make train ENGINE=dask
	@$(ONTIME) train

serve: install  ## serve the live release on 127.0.0.1:8000; train first if there is none
	@test -f releases/current.json || $(MAKE) train
	@$(PY) -m serving

demo: install  ## watch the life of a model, in minutes: trained, served, broken, retrained, promoted, rolled back; leaves nothing behind
	@$(ONTIME) demo

# Each process runs whole files, because the tests of a file share what they trained and started. In the order of the
# collection, which begins with the longest (tests/e2e, infra/tests/conftest.py). One process more than cores, because
# many tests wait for a service.
PARALLEL := --numprocesses=$(shell echo $$((`getconf _NPROCESSORS_ONLN` + 1))) --maxprocesses=8 --dist=loadfile --no-loadscope-reorder
test: usage $(VENV)/.installed-candidates $(DOCS)/.installed  ## run every test on all cores (needs PostgreSQL, Redis and Chromium: see docs/getting-started.md), or one folder: make test PART=serving
	@$(PY) -m pytest $(PARALLEL) $(if $(SLOWEST),--durations=$(SLOWEST)) $(if $(PART),tests/$(PART))
	@$(if $(PART),,$(if $(wildcard tests/reference),$(PY) -m pytest $(PARALLEL) tests/problem tests/repository))

test-quick: install  ## run the tests that are not marked `slow`; of one folder: make test-quick PART=library
	@$(PY) -m pytest $(PARALLEL) -m 'not slow' $(if $(PART),tests/$(PART))

test-slowest: usage $(VENV)/.installed-candidates $(DOCS)/.installed  ## run every test, and list the slowest: make test-slowest SLOWEST=20
	@$(MAKE) test SLOWEST=$(or $(SLOWEST),20) $(if $(PART),PART=$(PART))

check: install  ## run lint, type checks, import rules, and the repository's own rules
	@$(PY) -m ruff check
	@$(PY) -m ruff format --check --quiet
	@$(PY) -m mypy $(if $(wildcard tests/reference),src pipelines monitoring serving)
	@$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-logo
	@$(PY) -m pytest tests/repository

doctor: install  ## say what is installed, where things are written, what is live, and what would stop a command
	@$(ONTIME) doctor

ui: install  ## serve the pages of MLflow, Prefect and Evidently on the loopback interface, until Ctrl-C
	@$(ONTIME) ui

# From nothing each time: Sphinx warns of a page only when it reads it.
docs: usage $(DOCS)/.installed  ## build the documentation as a site: var/site/index.html
	@rm -rf var/site && $(DOCS)/bin/python -m sphinx --fresh-env --quiet --fail-on-warning --keep-going --jobs auto -c docs/site -d var/site-cache . var/site
	@echo "docs: open var/site/index.html"

docs-reference: install  ## write docs/cli.md, settings.md, params.md, http-api.md, the diagram and the badges from the code (needs `make train`)
	@$(PY) -m docs.site.reference

clean: usage  ## delete generated data, models, releases and var/ (predictions, API keys, MLflow); keep raw/ and .venv
	@$(OUTSIDE) -m ontime.locks var/workspace.lock 'make clean' $(PYTHON) -m ontime.locks var/ontime.db.lock 'make clean' rm -rf data models releases var .dvc/cache .dvc/tmp

##@ Your own problem

new-problem: install  ## write a first problem from a csv or parquet file: make new-problem NAME=noshows FROM=visits.csv LABEL=missed
	@$(ONTIME) new-problem --label "$$LABEL" --time "$$TIME" -- "$$NAME" "$$FROM"

decisions: install  ## list the open decisions of a new problem: make decisions FROM=examples/noshows
	@$(ONTIME) decisions -- "$$FROM"

adopt: install  ## replace this problem with another one: make adopt FROM=examples/bikes
	@$(ONTIME) adopt $(if $(REPLACE),--replace) -- "$$FROM"

rename: install  ## rename the project in every file and path: make rename NAME=punctual
	@$(ONTIME) rename -- $(NAME)

##@ Model

promote: install  ## make a published release live: make promote VERSION=2; FORCE=1 overrides the gate, on record
	@$(ONTIME) promote $(VERSION) $(if $(FORCE),--force)

rollback: install  ## make the previous release live again
	@$(ONTIME) rollback

shadow: install  ## run a published release in shadow, beside the champion: make shadow VERSION=2
	@$(ONTIME) shadow $(VERSION)

canary: install  ## let a published release serve a share of the traffic: make canary VERSION=2 SHARE=0.1
	@$(ONTIME) canary $(VERSION) --share $(SHARE)

withdraw: install  ## end shadow and canary
	@$(ONTIME) withdraw

approve: install  ## approve a release by name and with a reason, for policy.approval_required: make approve VERSION=2 REASON="reviewed the pack"
	@$(ONTIME) approve $(VERSION) --reason "$$REASON"

pack: install  ## write the documentation of a version, as one page and as JSON: make pack VERSION=2 TO=packs/2
	@$(ONTIME) pack $(VERSION) --to "$$TO"

sign: install  ## check and sign the published releases that this folder's key has not signed
	@$(ONTIME) sign

rotate-key: install  ## sign all releases with a new key, and no longer trust the old one
	@$(ONTIME) rotate-key

compare: install  ## compare champion and challenger where both have scored and the outcome is known
	@$(ONTIME) compare

reproduce: install  ## rebuild a registered version from its number, and compare predictions: make reproduce VERSION=3
	@$(ONTIME) reproduce $(VERSION)

tune: install  ## search for hyperparameters inside the training period, and print them for params.yaml
	@$(ONTIME) tune

study: install  ## measure how much the features are worth, for the model card: ablations and permutation importance
	@$(ONTIME) study card

study-features: install  ## measure what each family of features and each idea is worth: docs/what-features-are-worth.md; one idea: make study-features IDEA=queue
	@$(ONTIME) study features $(if $(IDEA),--idea "$(IDEA)")

study-models: usage $(VENV)/.installed-candidates  ## measure what each candidate is worth and costs, a neural network among them: docs/what-models-are-worth.md
	@$(ONTIME) study models

study-compression: usage $(VENV)/.installed-candidates  ## measure smaller and faster models: distilled, pruned, quantised: docs/what-compression-costs.md
	@$(ONTIME) study compression

study-value: usage $(VENV)/.installed-candidates  ## measure what alerts cost, what each part of the model saves, and at which ratios of costs: docs/what-the-model-is-worth.md
	@$(ONTIME) study value

study-search: install  ## compare a grid, a random and a Bayesian search for parameters on equal budgets: docs/what-searching-is-worth.md
	@$(ONTIME) study search

imbalance: install  ## measure the effect of class weights on ranking, probabilities and cost, at several base rates: docs/class_imbalance.md
	@$(ONTIME) imbalance

metrics: install  ## report how a branch changes the metrics, as markdown: make metrics BASE=origin/main
	@$(PY) -m infra.metrics_report "$${BASE:-origin/main}"

##@ Production

score: install  ## score a file or a folder as the service would: make score FROM=rows.csv TO=scored.parquet
	@$(ONTIME) score --to "$$TO" -- "$$FROM"

materialise: install  ## write new features and outcomes to the online store
	@$(ONTIME) materialise

monitor: install  ## run the daily monitor on yesterday: metrics, alerts, the policy's decision
	@$(ONTIME) monitor

performance: install  ## write a page about the predictions of the last year by day, month, release and slice: var/performance.html; other days: make performance FROM=2013-06-01 UNTIL=2013-07-01
	@$(ONTIME) performance $(if $(FROM),--from "$$FROM") $(if $(UNTIL),--until $(UNTIL))

# Quoted, because FROM= may also be a folder name, for `make restore`.
diagnose: install  ## explain why predictions got worse than the release's reference: make diagnose FROM=2013-06-01 UNTIL=2013-07-01
	@$(ONTIME) diagnose $(if $(FROM),--from "$$FROM") $(if $(UNTIL),--until $(UNTIL)) $(if $(AGAINST_FROM),--against-from $(AGAINST_FROM)) $(if $(AGAINST_UNTIL),--against-until $(AGAINST_UNTIL))

retrain: install  ## retrain if the policy has requested it; without a request: make retrain NOW=1
	@$(ONTIME) retrain $(if $(NOW),--now)

prune: install  ## delete what is older than `retention` in params.yaml allows; to count it only: make prune DRY_RUN=1
	@$(ONTIME) prune $(if $(DRY_RUN),--dry-run)

orchestrate: install  ## run materialise, monitor, prune and retrain on schedule with Prefect, on 127.0.0.1:4200, until Ctrl-C
	@$(ONTIME) orchestrate

replay: install  ## replay a year in production on a simulated clock; two months: make replay MONTHS=2; another dataset: make replay DATASET=name
	@$(ONTIME) replay $(if $(MONTHS),--months $(MONTHS)) $(if $(FROM),--from $(FROM)) $(if $(UNTIL),--until $(UNTIL)) $(if $(DATASET),--dataset $(DATASET))

migrate: install  ## bring the tables of the database to this version; `make train` does so for the SQLite file of a laptop
	@$(ONTIME) migrate

backup: install  ## back up everything that cannot be rebuilt, into one folder: make backup TO=backups/today
	@$(ONTIME) backup $(if $(TO),--to "$$TO")

restore: install  ## restore a backup, keeping existing data beside it: make restore FROM=backups/today REPLACE=1
	@$(ONTIME) restore $(if $(REPLACE),--replace) -- "$$FROM"

key: install  ## create an API key: make key NAME=desk SCOPES=predict,outcomes
	@$(ONTIME) key -- $(NAME) $(SCOPES)

audit: install  ## verify that no row of decisions was changed, and write who decided what to var/audit.html; with a head noted earlier: make audit HEAD=5f2c0e9d71ab
	@$(ONTIME) audit $(if $(HEAD),--head $(HEAD))

forget: install  ## erase what is stored about entities: make forget ENTITY="id id" REASON="request 12"
	@$(ONTIME) forget --reason "$$REASON" -- $(ENTITY)

export: install  ## write everything that is stored about an entity as JSON: make export ENTITY=id TO=exports
	@$(ONTIME) export --to "$$TO" -- "$$ENTITY"

##@ Infrastructure

# python:3.11-slim-trixie of October 2026 (Python 3.11.17), for all architectures. `make image PYTHON_DIGEST=` uses whatever image has that tag locally.
PYTHON_DIGEST ?= sha256:45037981b62b34b44602584fccbc4d884d5f7dc92c7ee86bb38a698a79fe1e51
# LAYERS: a folder that keeps layers between builds, for a builder that can export them (check.yml).
BUILD := docker $(if $(LAYERS),buildx build --load,build) --quiet $(if $(PYTHON_DIGEST),--build-arg PYTHON_DIGEST=@$(PYTHON_DIGEST)) $(if $(TRACES),--build-arg TRACES=1)
cached = $(if $(LAYERS),--cache-from type=local$(comma)src=$(LAYERS)/$(1) --cache-to type=local$(comma)mode=max$(comma)dest=$(LAYERS)/$(1))
# (image, target, more options)
define build
echo "image: ontime-$(1)" && options=$$($(OUTSIDE) -m infra.images options ontime-$(1)) \
	  && $(BUILD) $$options $(call cached,$(1)) --target $(2) $(3) -t ontime-$(1) .
endef
image: usage  ## build the three images: ontime-serve, ontime-mirror, ontime-worker (needs a container engine); also a worker with an engine's packages, ontime-worker-dask: make image ENGINE=dask; a service that can send traces: make image TRACES=1
	@for name in serve mirror worker; do $(call build,$$name,$$name) || exit 1; done
	@$(foreach engine,$(filter $(ENGINES),$(ENGINE)),$(call build,worker-$(engine),worker,--build-arg ENGINE=$(engine)))
	@docker images --filter reference='ontime-*' --format '{{.Repository}}:{{.Tag}} {{.Size}}'

pin-images: install  ## update the digests of other people's images to those that their tags have now, in infra/compose.yaml and this Makefile
	@$(PY) -m infra.pins

STACK := STACK_USER="$$(id -u):$$(id -g)" docker compose -f infra/compose.yaml $(STACK_ALSO)
stack: install  ## start the platform in containers, on 127.0.0.1:8000; build missing images and train a first release if needed
	@docker image inspect ontime-serve ontime-mirror ontime-worker > /dev/null 2>&1 || $(MAKE) image
	@$(PY) -m infra.images outdated ontime-serve ontime-mirror ontime-worker
	@$(PY) -m infra.credentials
	@mkdir -p -m 700 "$${STACK_BACKUPS:-infra/backups}"
	@$(STACK) up --detach --wait --quiet-pull --remove-orphans
	@$(STACK) run --rm --no-deps tools test -f releases/current.json || $(MAKE) stack-run DO="make train"
	@$(STACK) --profile serve up --detach --wait --quiet-pull
	@echo "stack: the service on http://127.0.0.1:8000 (key: infra/secrets/desk_key), MLflow :5000, Prefect :4200, Prometheus :9090, Grafana :3000"
	@$(PY) -m infra.credentials

stack-stream: install  ## start a broker, the data feed and ontime stream beside the running stack
	@$(PY) -m infra.credentials
	@$(STACK) --profile stream up --detach --wait --quiet-pull
	@echo "stack-stream: predictions from events; its log: docker compose -f infra/compose.yaml --profile stream logs --follow stream"

stack-run: install  ## run a command inside the stack: make stack-run DO="make replay MONTHS=1"
	@$(STACK) run --rm --no-deps -e ONTIME_ACTOR="$${ONTIME_ACTOR:-$$(id -un)@$$(uname -n)}" tools $(DO)

BACKUP := $(STACK) run --rm --no-deps --user "$$(id -u):$$(id -g)" backup
stack-backup: install  ## back up the stack's databases and buckets into infra/backups/: make stack-backup TO=today
	@mkdir -p -m 700 "$${STACK_BACKUPS:-infra/backups}"
	@$(BACKUP) backup --to "/backups/$${TO:-$$(date -u +%Y-%m-%dT%H%M)}"

# Also delete the releases of the worker and the services: a release newer than the backup would otherwise reappear,
# and conflict with a later release of the same number.
stack-restore: install  ## restore a backup of the stack, replacing its data: make stack-restore FROM=today
	@$(BACKUP) verify-backup "/backups/$$FROM"
	@$(STACK) --profile '*' stop service stream feed worker mlflow push pull
	@$(BACKUP) restore --replace "/backups/$$FROM"
	@$(STACK) run --rm --no-deps migrate
	@$(STACK) run --rm --no-deps tools sh -c 'rm -rf releases/* && python -m pipelines.operations.mirror pull --all'
	@$(STACK) --profile serve run --rm --no-deps --entrypoint python pull -c \
	  'import pathlib, shutil; [shutil.rmtree(each) if each.is_dir() else each.unlink() for each in pathlib.Path("releases").glob("[!.]*")]'
	@$(STACK) --profile serve up --detach --wait --quiet-pull

stack-down: install  ## stop the stack and keep its data; to delete them: make stack-down VOLUMES=1
	@$(STACK) --profile '*' $(if $(VOLUMES),down --volumes,stop)

deploy: install  ## deploy the images in a release's images.txt to a cluster, and take the service back if it does not work (SMOKE_KEY: an API key): make deploy CONTEXT=production FROM=images.txt; another overlay: make deploy CONTEXT=kind-kind FROM=images.txt OVERLAY=small
	@$(PY) -m infra.deploy --context "$$CONTEXT" --overlay $(or $(OVERLAY),production) -- "$$FROM"

rehearsal: usage $(INFRA)/.installed  ## install, disturb and check the service on a real cluster: make rehearsal CONTEXT=kind-kind; another overlay: make rehearsal CONTEXT=kind-kind OVERLAY=production; partitions on Dask: make rehearsal CONTEXT=kind-kind ENGINE=dask; delete it again: make rehearsal CONTEXT=kind-kind CLEAN=1
	@$(PY) -m infra.rehearsal --context "$$CONTEXT" --overlay $(or $(OVERLAY),small) $(if $(filter $(ENGINES),$(ENGINE)),--engine $(ENGINE)) $(if $(CLEAN),--clean)

image-test: $(INFRA)/.installed  ## test the images: read-only, no capabilities, no prediction lost after a kill
	@$(PY) -m pytest infra/tests/test_images.py

test-engines: $(INFRA)/.installed $(VENV)/.installed-dask $(VENV)/.installed-spark  ## test partitions on real Dask and Spark, and through a real S3 server (needs Java 17)
	@$(PY) -m pytest infra/tests/test_distributed.py

test-infra: $(INFRA)/.installed $(VENV)/.installed-dask $(VENV)/.installed-spark  ## run the tests of infra/ on all cores (infra/README.md lists what they need)
	@$(PY) -m pytest $(PARALLEL) infra/tests

IMAGES := serve mirror worker
EXTRAS := candidates docs
sbom: install  ## write an SBOM of each image's Python packages, as CycloneDX: var/sbom/
	@mkdir -p var/sbom
	@for image in $(IMAGES); do PYTHONWARNINGS=ignore $(PY) -m cyclonedx_py requirements requirements/$$image.txt \
		--pyproject pyproject.toml --output-reproducible --sv 1.6 --of JSON --output-file var/sbom/$$image.cdx.json || exit 1; done

# Strict, because pip-audit otherwise skips a package that PyPI does not know, and reports no vulnerability.
audit-packages: $(INFRA)/.installed  ## ask PyPI for known vulnerabilities in the packages of the images, the engines, the candidates and the documentation; fails if PyPI cannot be reached
	@for lock in $(IMAGES) $(ENGINES) $(EXTRAS); do $(INFRA)/bin/python -m pip_audit --strict --disable-pip --require-hashes --progress-spinner off \
		-r requirements/$$lock.txt || exit 1; done

LOCK := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate
# uv compiles no project that it does not manage, and pyproject.toml says so for the sake of `uv run`: compile a copy.
LOCKED := var/lock/pyproject.toml
groups = $(foreach group,$(1),--group $(LOCKED):$(group))
lock: install  ## update the lock files after a change in pyproject.toml; existing pins stay unless: make lock UPGRADE=1
	@mkdir -p $(dir $(LOCKED)) && sed '/^managed = false/d' pyproject.toml > $(LOCKED)
	$(LOCK) $(if $(UPGRADE),--upgrade) $(call groups,serve train operate store traces dev setup) -o requirements/all.txt
	$(LOCK) $(call groups,serve) -c requirements/all.txt -o requirements/serve.txt
	$(LOCK) $(call groups,serve train) -c requirements/all.txt -o requirements/train.txt
	$(LOCK) $(call groups,setup) -c requirements/all.txt -o requirements/setup.txt
	$(LOCK) $(call groups,serve mirror) -c requirements/all.txt -o requirements/mirror.txt
	$(LOCK) $(call groups,serve train operate store) -c requirements/all.txt -o requirements/worker.txt
	$(LOCK) $(call groups,dask) -c requirements/all.txt -o requirements/dask.txt
	$(LOCK) $(call groups,traces) -c requirements/all.txt -o requirements/traces.txt
	$(LOCK) $(call groups,spark) -c requirements/all.txt -o requirements/spark.txt
	$(LOCK) $(call groups,candidates) -c requirements/all.txt -o requirements/candidates.txt
	$(LOCK) $(call groups,bench) -o requirements/bench.txt
	$(LOCK) $(call groups,runtimes) -c requirements/all.txt -o requirements/runtimes.txt
	$(LOCK) $(call groups,feast) -o requirements/feast.txt
	$(LOCK) $(call groups,infra) -o requirements/infra.txt
	$(LOCK) $(call groups,docs) -c requirements/all.txt -o requirements/docs.txt

##@ Measure

sabotage: install  ## plant one fault after another, and record which guard stops which: docs/sabotage.md
	@$(PY) -m pytest tests/sabotage --write-matrix

fuzz: install  ## send generated requests to the service, 2000 per route: make fuzz EXAMPLES=2000
	@$(PY) -m pytest tests/serving/test_openapi.py --examples $(or $(EXAMPLES),2000)

bench-train: install  ## measure time and memory of each stage, relative to bare csv reading and fitting
	@$(PY) -m bench.training_time

bench-startup: install  ## measure how long the command line and the service take to start (needs `make train`)
	@$(PY) -m bench.startup

bench-scale: install  ## measure CPU time and memory of the stages and of scores, with more rows and with more months (needs `make train`)
	@OMP_NUM_THREADS=1 $(PY) -m bench.scale

bench-engines: install $(VENV)/.installed-dask $(VENV)/.installed-spark  ## measure CPU time and memory of features and scores on each engine (needs `make train` and Java 17)
	@OMP_NUM_THREADS=1 $(PY) -m bench.engines

bench-sampling: install  ## measure what training on 10, 30 and 100 % of the rows costs in log-loss, with 5 seeds (needs `make train`)
	@$(PY) -m bench.sampling

bench-gate: install  ## measure the gate's error rates and power: 2,000 simulations per row (a quarter of an hour)
	@$(PY) -m bench.gate_power

bench-leaks: install  ## measure what one honest feature reaches, alone and in a model, and what one leaking feature reaches
	@$(PY) -m bench.leak_limits

bench-alarms: install  ## simulate a year without faults, and count alerts, pages and retrainings
	@$(PY) -m bench.alarms

bench-density: install  ## measure whether a density of the features sees faults before the alerts on performance do
	@$(PY) -m bench.density_alarm

bench-serve: install  ## measure the service under load, beside MLflow, BentoML and a bare route (needs `make train`, wrk and PostgreSQL)
	@$(PY) -m bench.serve

bench-lists: install  ## measure lists on 4 and on 64 connections, and single requests beside them (needs wrk)
	@$(PY) -m bench.lists

bench-profile: install  ## measure the CPU time of a request by stage of the service (needs `make train`)
	@$(PY) -m bench.request_profile

bench-store: install  ## measure the service and the daily operations with 20 million predictions in the store; fewer: make bench-store ROWS=2000000
	@$(PY) -m bench.store $(ROWS)

bench-feast: install  ## compare the online store with Feast on SQLite and on Redis: equality, latency, CPU time (needs `make train`, redis-server and PostgreSQL)
	@$(PY) -m bench.feast_comparison

bench-redis: install  ## measure the service with look-ups in SQLite or PostgreSQL, and in Redis beside them (needs `make train`, wrk, redis-server and PostgreSQL)
	@$(PY) -m bench.redis_look_ups

bench-batch: install  ## measure rows per second of CPU and memory of `ontime score`, by size (needs `make train`)
	@OMP_NUM_THREADS=1 $(PY) -m bench.batch

bench-runtimes: install  ## compare ONNX Runtime, with category masks and without, with LightGBM, treelite and tl2cgen on the same model (needs `make train` and gcc)
	@OMP_NUM_THREADS=1 $(PY) -m bench.runtimes

bench-brokers: install  ## measure messages per second and CPU time of NATS and Kafka (its mock cluster), to publish and to fetch
	@$(PY) -m bench.brokers

bench-stream: install  ## measure what `ontime stream` scores in a second, and the latency of a prediction at a tenth, half and all of it (needs `make train`)
	@OMP_NUM_THREADS=1 $(PY) -m bench.streaming_rate

bench-stack: install  ## compare uvicorn with granian, and pydantic with orjson and msgspec
	@$(PY) -m bench.stack

bench-soak: install  ## send a million requests of every kind, and record memory, descriptors and slow requests: make bench-soak REQUESTS=100000 (needs wrk)
	@$(PY) -m bench.soak $(REQUESTS)

bench-faults: install  ## attack the service (kills, frozen databases, hostile callers and releases), and count losses, failures and seconds (needs PostgreSQL)
	@$(PY) -m tests.e2e.faults

bench-diagnose: install  ## plant faults of known cause and count correct diagnoses, and false ones without a fault
	@$(PY) -m tests.sabotage.diagnoses

bench-image: install  ## measure seconds from `docker run` to the first ready response (needs `make image` and a release)
	@$(PY) -m bench.image

screenshots: install  ## retake the screenshots of the pages (needs Chromium)
	@$(PY) -m tests.e2e.screenshots

demo-picture: install  ## record `ontime demo`, and draw the README's moving picture from it (needs Chromium)
	@$(PY) -m tests.e2e.demo_picture
