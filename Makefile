# Everything a reader runs. `make` alone lists the targets.
.DEFAULT_GOAL := help
.PHONY: help install train serve test check lock tune bench-train clean
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := $(CURDIR)/.venv
PY := $(VENV)/bin/python
UV := $(VENV)/bin/uv

export PATH := $(VENV)/bin:$(PATH)
export UV_PYTHON_DOWNLOADS := never

# Nothing phones home.
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export EVIDENTLY_DISABLE_TELEMETRY := 1
export ITERATIVE_DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_LOGGING_LEVEL := WARNING
export PREFECT_SERVER_ANALYTICS_ENABLED := false

# Nothing is written outside this folder.
export DVC_GLOBAL_CONFIG_DIR := $(CURDIR)/var/dvc
export DVC_SYSTEM_CONFIG_DIR := $(CURDIR)/var/dvc
export DVC_SITE_CACHE_DIR := $(CURDIR)/var/dvc
export MPLCONFIGDIR := $(CURDIR)/var/matplotlib
export PIP_CACHE_DIR := $(CURDIR)/var/cache/pip
export UV_CACHE_DIR := $(CURDIR)/var/cache/uv
export XDG_CACHE_HOME := $(CURDIR)/var/cache

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*##/ {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## install exactly what requirements/all.txt locks into .venv

$(VENV)/.installed: requirements/all.txt requirements/setup.txt
	@$(PYTHON) -c 'import sys; sys.exit("ontime needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.12 install" if sys.version_info < (3, 11) else 0)'
	@echo "install: .venv from requirements/all.txt (about 1 GB, under a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/setup.txt
	@$(UV) pip sync --quiet --python $(PY) --require-hashes requirements/all.txt
	@$(UV) pip install --quiet --python $(PY) --no-deps --no-build-isolation --editable .
	@$(PY) -c 'import lightgbm' || { echo 'LightGBM needs the OpenMP runtime: apt-get install libgomp1, or brew install libomp'; exit 1; }
	@touch $@

train: install  ## raw flights -> features -> models -> gate -> published release
	@dvc repro
	@$(PY) -m pipelines.promote
	@[ var/.pushed -nt dvc.lock ] || { dvc push --quiet && touch var/.pushed; }

serve: install  ## serve the release on 127.0.0.1:8000, training first when there is none
	@test -f releases/current.json || $(MAKE) train
	@$(PY) -m serving

test: install  ## run every test
	@$(PY) -m pytest

check: install  ## lint, types, import rules, and the repository's own rules
	@ruff check
	@ruff format --check --quiet
	@mypy
	@lint-imports --no-logo
	@$(PY) -m pytest tests/repository

tune: install  ## search for hyperparameters inside the training period (prints them for params.yaml)
	@$(PY) -m pipelines.tune

bench-train: install  ## time and memory of each stage, against bare csv reading and fitting
	@$(PY) -m bench.train

LOCK := $(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --no-annotate
lock: install  ## renew the locks after a change in pyproject.toml (existing pins stay; add UPGRADE=1 to move them)
	$(LOCK) $(if $(UPGRADE),--upgrade) pyproject.toml --group serve --group train --group dev --group setup -o requirements/all.txt
	$(LOCK) --group serve -c requirements/all.txt -o requirements/serve.txt
	$(LOCK) --group serve --group train -c requirements/all.txt -o requirements/train.txt
	$(LOCK) --group setup -c requirements/all.txt -o requirements/setup.txt

clean:  ## remove what was made, but neither .venv nor anything that git keeps
	rm -rf data models releases var .dvc/cache .dvc/tmp
