# The environment variables of the tools, independent of the caller's environment. The Makefile includes this file;
# environment.py reads it for `python -m pipelines...` without make.

# Removed: each of these could send models, runs, commits or packages of this project somewhere else, or change how
# Python, pandas and pandera treat its code and data.
FOREIGN := MLFLOW_% _MLFLOW_% DVC_% DVCLIVE_% STUDIO_% PREFECT_% EVIDENTLY_% \
	GIT_ALTERNATE_OBJECT_DIRECTORIES GIT_COMMON_DIR GIT_DIR GIT_GRAFT_FILE GIT_IMPLICIT_WORK_TREE GIT_INDEX_FILE \
	GIT_NAMESPACE GIT_OBJECT_DIRECTORY GIT_PREFIX GIT_QUARANTINE_PATH GIT_REPLACE_REF_BASE GIT_SHALLOW_FILE GIT_WORK_TREE \
	PIP_% UV_% PYTHON% MPL% MATPLOTLIBRC PANDAS_% PANDERA_% SKLEARN_% SCIPY_ARRAY_API \
	PGHOSTADDR PGOPTIONS PGSERVICE PROMETHEUS_% prometheus_% UVICORN_% GUNICORN_% WEB_CONCURRENCY

# Kept: credentials and certificates of the server in ONTIME_TRACKING_URL, of a bucket, and of a mirror of PyPI; the
# ports and remotes that this project's commands use; Python's output and compilation.
KEPT := MLFLOW_TRACKING_USERNAME MLFLOW_TRACKING_PASSWORD MLFLOW_TRACKING_TOKEN MLFLOW_TRACKING_AUTH \
	MLFLOW_TRACKING_AWS_SIGV4 MLFLOW_TRACKING_INSECURE_TLS MLFLOW_TRACKING_SERVER_CERT_PATH \
	MLFLOW_TRACKING_CLIENT_CERT_PATH MLFLOW_HTTP_REQUEST_% MLFLOW_S3_% MLFLOW_BOTO_CLIENT_ADDRESSING_STYLE \
	DVC_REMOTE PREFECT_SERVER_API_PORT PREFECT_API_KEY PREFECT_API_AUTH_STRING PREFECT_CLIENT_CUSTOM_HEADERS \
	PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_NO_INDEX PIP_FIND_LINKS PIP_TRUSTED_HOST PIP_CERT PIP_CLIENT_CERT PIP_PROXY \
	PIP_TIMEOUT PIP_DEFAULT_TIMEOUT PIP_RETRIES PIP_CONFIG_FILE PIP_KEYRING_PROVIDER PIP_USE_FEATURE PIP_USE_DEPRECATED \
	UV_INDEX% UV_DEFAULT_INDEX UV_EXTRA_INDEX_URL UV_NO_INDEX UV_FIND_LINKS UV_INSECURE_HOST UV_NATIVE_TLS \
	UV_SYSTEM_CERTS UV_HTTP_% UV_KEYRING_PROVIDER UV_OFFLINE UV_CONCURRENT_% UV_LINK_MODE UV_NO_CACHE UV_CONFIG_FILE \
	PYTHON PYTHON_DIGEST PYTHONUNBUFFERED PYTHONDONTWRITEBYTECODE PYTHONFAULTHANDLER PYTHONHASHSEED PYTHON_CPU_COUNT

unexport $(filter-out $(KEPT),$(filter $(FOREIGN),$(.VARIABLES)))

# No telemetry.
export BENTOML_DO_NOT_TRACK := True
export DO_NOT_TRACK := true
export DVC_NO_ANALYTICS := 1
export EVIDENTLY_DISABLE_TELEMETRY := 1
export FEAST_USAGE := False
export ITERATIVE_DO_NOT_TRACK := 1
export MLFLOW_DISABLE_TELEMETRY := true
export MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR := false
export MLFLOW_LOGGING_LEVEL := WARNING
export MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT := true
export ORT_DISABLE_TELEMETRY := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export UV_PYTHON_DOWNLOADS := never

# Waiting OpenMP threads spin briefly, then sleep: with no spinning LightGBM is slower on an idle machine, with the
# default's long spinning it is slower on a busy one.
export GOMP_SPINCOUNT := 1000

# Nothing is written outside this folder.
export DVC_GLOBAL_CONFIG_DIR := $(CURDIR)/var/dvc
export DVC_SYSTEM_CONFIG_DIR := $(CURDIR)/var/dvc
ifeq ($(shell env $(addprefix -u ,$(filter GIT_%,$(FOREIGN))) git rev-parse --git-dir 2> /dev/null),)
  # Outside a git repository, such as in a downloaded zip, DVC needs this configuration.
  export DVC_SYSTEM_CONFIG_DIR := $(CURDIR)/.dvc/without-git
endif
export DVC_SITE_CACHE_DIR := $(CURDIR)/var/dvc
export KERAS_HOME := $(CURDIR)/var/keras
export MPLCONFIGDIR := $(CURDIR)/var/matplotlib
export PIP_CACHE_DIR := $(CURDIR)/var/cache/pip
export PREFECT_HOME := $(CURDIR)/var/prefect
export UV_CACHE_DIR := $(CURDIR)/var/cache/uv
export XDG_CACHE_HOME := $(CURDIR)/var/cache

# Import the code of this folder, not of another one with the same name.
export PYTHONPATH := $(CURDIR):$(CURDIR)/src

# DVC runs each stage with this shell; some accounts have one that runs nothing.
export SHELL := /bin/sh

# Flows report to this server. Without it, a flow that runs by hand starts a temporary one.
ifdef ONTIME_PREFECT_URL
export PREFECT_API_URL := $(ONTIME_PREFECT_URL)
endif

# If this folder is on a network disk, DVC's internal database should not be.
ifdef ONTIME_DVC_SITE_CACHE
  export DVC_SITE_CACHE_DIR := $(ONTIME_DVC_SITE_CACHE)
endif

# Requests to this machine bypass a proxy.
bypassed = $(if $(findstring 127.0.0.1,$(1)),$(1),127.0.0.1$(comma)localhost$(if $(1),$(comma)$(1)))
comma := ,
export NO_PROXY := $(call bypassed,$(NO_PROXY))
export no_proxy := $(call bypassed,$(or $(no_proxy),$(NO_PROXY)))

# Arguments of targets come from make's command line only: a VERSION or VOLUMES in the environment is ignored.
ARGUMENTS := AGAINST_FROM AGAINST_UNTIL BASE CLEAN CONTEXT DATASET DO DRY_RUN ENGINE ENTITY EXAMPLES FORCE FROM HEAD IDEA LABEL MONTHS NAME NOW OVERLAY PART REASON REPLACE REQUESTS ROWS SCOPES SHARE SLOWEST TIME TO TRACES UNTIL UPGRADE VERSION VOLUMES
$(foreach name,$(ARGUMENTS),$(if $(filter environment,$(origin $(name))),$(eval $(name) :=)$(eval unexport $(name))))

ifneq ($(findstring e,$(filter-out --%,$(firstword -$(MAKEFLAGS)))),)
$(error make -e, perhaps in MAKEFLAGS, puts the environment over this Makefile: run make without it)
endif
