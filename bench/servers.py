"""The command and the requests of each server that `bench.serve` measures."""

import os
import sqlite3
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from bench import entities
from bench.environments import TOOLS
from bench.server_comparison import VAR, Contender, Launch, LoadTask
from ontime import registry
from ontime.settings import Settings

CONNECTIONS = (1, 16, 64)
ALONE, BUSY = str(CONNECTIONS[0]), str(CONNECTIONS[-1])
LISTS, LIST_CONNECTIONS = (1, 10, 100, 1000), 4
ENTITIES = 200

LOCK, ENVIRONMENT = Path("requirements/bench.txt"), VAR / "bench-venv"
LOCAL = "--host", "127.0.0.1", "--port"
# MLflow looks for uvicorn on PATH; this project is not installed in BentoML's environment.
PATHS = {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": f"{Path.cwd()}:{Path('src').resolve()}"}


def launch_ontime(port: int, folder: Path, workers: int) -> Launch:
    """This service, on a copy of the online store."""
    copy = folder / "ontime.db"
    with closing(sqlite3.connect(entities.DATABASE)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    settings = {
        "port": port,
        "workers": workers,
        "database_url": f"sqlite:///{copy}",
        "spool": folder / "spool",
        "releases": entities.RELEASES,
    }
    env = {f"ONTIME_{name.upper()}": str(value) for name, value in settings.items()}
    return Launch([sys.executable, "-m", "serving"], env)


def launch_mlflow(port: int, folder: Path) -> Launch:
    model = f"models:/{registry.NAME}@{registry.CHAMPION}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": Settings().tracking_url, "TMPDIR": str(folder)}
    return Launch([*command, "--workers", "1", *LOCAL, str(port)], PATHS | env)


def launch_bentoml(port: int, folder: Path) -> Launch:
    command = [str(ENVIRONMENT / "bin" / "bentoml"), "serve", "bench.bento:Predictor"]
    env = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder)}
    return Launch([*command, *LOCAL, str(port)], PATHS | env)


def launch_bare(port: int, _: Path) -> Launch:
    command = [sys.executable, "-m", "uvicorn", "bench.bare:app", "--loop", "uvloop", "--http", "httptools"]
    return Launch([*command, "--no-access-log", "--log-level", "warning", *LOCAL, str(port)], {})


def at_each(bodies: list[str]) -> dict[str, LoadTask]:
    """One task for each number of connections, with the same bodies."""
    return {str(connections): LoadTask(connections, bodies) for connections in CONNECTIONS}


def serving_contenders() -> dict[str, Contender]:
    requests, many = entities.evenly_spaced(ENTITIES), entities.evenly_spaced(2 * max(LISTS))
    single = at_each(entities.single(requests))
    in_lists = {f"list of {size}": LoadTask(LIST_CONNECTIONS, entities.lists(many, size, ENTITIES)) for size in LISTS}
    for_mlflow, for_bentoml = (
        at_each(entities.model_rows(requests, "inputs")),
        at_each(entities.model_rows(requests, "rows")),
    )
    ready, path = "/health/ready", "/v1/predictions"
    return {
        "ontime": Contender(partial(launch_ontime, workers=1), ready, path, single | in_lists, _probability_of_ours),
        "mlflow": Contender(launch_mlflow, "/ping", "/invocations", for_mlflow, _probability_of_mlflow),
        "bentoml": Contender(launch_bentoml, "/readyz", "/predict", for_bentoml, lambda answer: answer[0]),
        "bare": Contender(launch_bare, ready, path, single),
        "two workers": Contender(
            partial(launch_ontime, workers=2), ready, path, {BUSY: single[BUSY]}, _probability_of_ours
        ),
    }


def _probability_of_ours(answer: Any) -> float:
    return float((answer[0] if isinstance(answer, list) else answer)["probability"])


def _probability_of_mlflow(answer: Any) -> float:
    return float(answer["predictions"]["probabilities"][0][1])
