# Three images from one file:
#   serve    the service and nothing else: no compiler, no pandas, no mlflow; and of Debian only what it loads: no shell
#   mirror   the same layers and an S3 client: keeps a local copy of the releases up to date beside the service
#   worker   the pipelines: DVC, MLflow, LightGBM, Prefect, Evidently, and the repository with its history
#
#   docker build --target serve -t ontime-serve .          or: make image
#
# ENGINE adds an engine's packages to the worker, for partitions on other machines (docs/engines.md), and Java for Spark:
#
#   docker build --target worker --build-arg ENGINE=dask -t ontime-worker-dask .          or: make image ENGINE=dask
#
# PYTHON_DIGEST pins the base image: --build-arg PYTHON_DIGEST=@sha256:...
ARG PYTHON_TAG=3.11-slim-trixie
ARG PYTHON_DIGEST=""

FROM python:${PYTHON_TAG}${PYTHON_DIGEST} AS base
# A numeric user id lets Kubernetes verify that the user is not root.
RUN groupadd --gid 10001 ontime && useradd --uid 10001 --gid ontime --no-create-home --home-dir /tmp ontime
WORKDIR /app

FROM base AS installer
WORKDIR /installer
ENV UV_PYTHON_DOWNLOADS=never UV_NO_CACHE=1 UV_LINK_MODE=copy
COPY requirements/setup.txt requirements/
RUN pip install --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore --require-hashes -r requirements/setup.txt \
    && uv venv --quiet /venv

# Nearly half of the packages' size is never used here: debug symbols, headers, tools and tests of the libraries, and the
# C library of ONNX Runtime, which its Python module does not link.
FROM installer AS serve-packages
# No version pin: Debian keeps only the newest version, so a pin would break with the next update.
# hadolint ignore=DL3008,DL3009
RUN apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends binutils > /dev/null
COPY requirements/serve.txt requirements/
# hadolint ignore=DL3003
RUN uv pip sync --quiet --python /venv/bin/python --require-hashes requirements/serve.txt \
    && cd /venv/lib/python3.*/site-packages \
    && rm -rf onnxruntime/capi/libonnxruntime.so* onnxruntime/transformers onnxruntime/tools onnxruntime/quantization \
        numpy/f2py numpy/distutils numpy/_core/include numpy/random google \
        sqlalchemy/testing sqlalchemy/orm sqlalchemy/ext sqlalchemy/dialects/mssql sqlalchemy/dialects/mysql \
        sqlalchemy/dialects/oracle \
    && find . -depth \( -name tests -o -name '*.pyi' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.a' \) -exec rm -rf {} + \
    && find . -name '*.so' -not -path '*.libs/*' -exec strip --strip-unneeded {} +

# After the deletions, because traces need protobuf, which is in the folder `google`.
ARG TRACES=""
COPY requirements/traces.txt requirements/
RUN [ -z "$TRACES" ] \
    || uv pip install --quiet --python /venv/bin/python --require-hashes --reinstall-package protobuf -r requirements/traces.txt

FROM installer AS worker-packages
COPY requirements/worker.txt requirements/
RUN uv pip sync --quiet --compile-bytecode --python /venv/bin/python --require-hashes requirements/worker.txt
COPY requirements requirements
ARG ENGINE=""
RUN [ -z "$ENGINE" ] \
    || uv pip install --quiet --compile-bytecode --python /venv/bin/python --require-hashes -r "requirements/$ENGINE.txt"

FROM base AS worker
LABEL org.opencontainers.image.title="ontime-worker" \
      org.opencontainers.image.description="The pipelines: train, materialise, monitor, retrain; and Prefect's worker" \
      org.opencontainers.image.licenses="MIT"
# OpenMP for LightGBM; git, because a retraining runs in a clone of this repository; pg_dump for backups.
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends git libgomp1 make postgresql-client > /dev/null \
    && rm -rf /var/lib/apt/lists/*
ARG ENGINE=""
# hadolint ignore=DL3008
RUN [ "$ENGINE" != spark ] \
    || { apt-get update -qq \
        && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless > /dev/null \
        && rm -rf /var/lib/apt/lists/*; }
COPY --from=worker-packages /venv /venv
COPY --chown=10001:10001 . .
RUN install -d -o ontime -g ontime . .dvc/cache .dvc/tmp data models releases var && ln -s /venv .venv && touch /venv/.installed \
    && printf '#!/bin/sh\nexec python -P -m cli "$@"\n' > /venv/bin/ontime && chmod 755 /venv/bin/ontime
# For `prefect` and `dvc`, which also start without our commands; our commands read src/ontime/environment.mk.
ENV PATH=/venv/bin:$PATH PYTHONPATH=/app:/app/src PYTHONUNBUFFERED=1 HOME=/app/var \
    DO_NOT_TRACK=true DVC_NO_ANALYTICS=1 ITERATIVE_DO_NOT_TRACK=1 EVIDENTLY_DISABLE_TELEMETRY=1 \
    MLFLOW_DISABLE_TELEMETRY=true MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT=true PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_HOME=/app/var/prefect \
    DVC_GLOBAL_CONFIG_DIR=/app/var/dvc DVC_SYSTEM_CONFIG_DIR=/app/var/dvc DVC_SITE_CACHE_DIR=/app/var/dvc \
    GOMP_SPINCOUNT=1000 MPLCONFIGDIR=/app/var/matplotlib
USER 10001:10001
CMD ["prefect", "worker", "start", "--pool", "ontime"]

# Compile the modules that the service imports, because its read-only container cannot write bytecode at start. Modules
# that it does not import stay uncompiled.
FROM serve-packages AS serve-compiled
WORKDIR /app
COPY src src
COPY serving serving
ARG TRACES=""
RUN PYTHONPATH=/app:/app/src /venv/bin/python -c "import serving.app, sqlalchemy.dialects.postgresql.psycopg, \
    serving.connection, serving.__main__, serving.server, uvicorn.lifespan.on, uvicorn.loops.uvloop, ontime.release_check, \
    ontime.online" \
    && { [ -z "$TRACES" ] || PYTHONPATH=/app:/app/src /venv/bin/python -c "import serving.tracing"; } \
    && install -d -o ontime -g ontime /folders/releases /folders/var /folders/var/spool \
    && for folder in /venv/lib/python3.*/site-packages; do echo /packages > "$folder/mirror.pth"; done

# What the mirror has beyond the service's packages, in a folder that mirror.pth above names and only its image has; of the
# descriptions of AWS, those of S3 and of credentials.
FROM serve-compiled AS mirror-packages
COPY pipelines/__init__.py pipelines/
COPY pipelines/operations/__init__.py pipelines/operations/mirror.py pipelines/operations/
COPY requirements/mirror.txt requirements/
# hadolint ignore=DL3003
RUN cd /venv/lib/python3.*/site-packages && printf '%s\n' * > /before \
    && uv pip sync --quiet --compile-bytecode --python /venv/bin/python --require-hashes /app/requirements/mirror.txt \
    && mkdir /packages \
    && for each in *; do grep --quiet --line-regexp --fixed-strings "$each" /before || mv "$each" /packages || exit 1; done \
    && cd /packages/botocore/data \
    && find . -mindepth 1 -maxdepth 1 -type d -not -name s3 -not -name sts -not -name sso -not -name sso-oidc -not -name signin -exec rm -rf {} + \
    && PYTHONPATH=/app:/app/src /venv/bin/python -c "import pipelines.operations.mirror, s3fs"

# Debian without a shell and a package manager.
FROM base AS runtime-files
COPY infra/runtime_files.py /
COPY --from=mirror-packages /venv /venv
COPY --from=mirror-packages /packages /packages
RUN python /runtime_files.py /runtime /venv /packages

# The layers that serve and mirror share, so that a node pulls them once for both.
FROM scratch AS runtime
COPY --from=runtime-files /runtime /
COPY --from=serve-compiled /venv /venv
COPY --from=serve-compiled /app /app
COPY --from=serve-compiled --chown=10001:10001 /folders/ /app/
WORKDIR /app
ENV PATH=/venv/bin PYTHONPATH=/app:/app/src PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LANG=C.UTF-8
USER 10001:10001

FROM runtime AS mirror
LABEL org.opencontainers.image.title="ontime-mirror" \
      org.opencontainers.image.description="Copies released models from a bucket to a folder, verified, the pointer last" \
      org.opencontainers.image.licenses="MIT"
COPY --from=mirror-packages /packages /packages
COPY --from=mirror-packages /app/pipelines pipelines
ENTRYPOINT ["python", "-m", "pipelines.operations.mirror"]
CMD ["pull", "--every", "5"]

# The last stage is the default of `docker build .`.
FROM runtime AS serve
LABEL org.opencontainers.image.title="ontime-serve" \
      org.opencontainers.image.description="A model behind an API: the service, and nothing else" \
      org.opencontainers.image.licenses="MIT"
# Listens on all interfaces, so it requires API keys: ONTIME_API_KEYS (see `make key`).
ENV ONTIME_HOST=0.0.0.0
EXPOSE 8000
VOLUME /app/var
HEALTHCHECK --interval=15s --timeout=3s --start-period=10s \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/ready', timeout=2)"]
ENTRYPOINT ["python", "-m", "serving"]
