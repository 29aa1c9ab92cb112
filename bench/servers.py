"""How each server is started, and what it is asked: see `bench.serve`."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from bench import entities
from bench.compare import VAR, Contender, Launch, Task
from ontime import registry
from ontime.settings import Settings

CONNECTIONS = (1, 16, 64)
BUSY = str(CONNECTIONS[-1])
LISTS, LIST_CONNECTIONS = (1, 10, 100, 1000), 4
ENTITIES = 200

LOCK, ENVIRONMENT = Path("requirements/bench.txt"), VAR / "bench-venv"
TOOLS = Path(sys.executable).parent  # not resolved: the environment's, not the interpreter's
LOCAL = "--host", "127.0.0.1", "--port"
# MLflow looks for uvicorn on the path; BentoML's environment does not hold this project.
FOUND = {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": f"{Path.cwd()}:{Path('src').resolve()}"}


def ontime(port: int, folder: Path, workers: int) -> Launch:
    """This service, with a copy of the online store."""
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


def mlflow(port: int, folder: Path) -> Launch:
    model = f"models:/{registry.NAME}@{registry.CHAMPION}"
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local"]
    env = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_TRACKING_URI": Settings().tracking_url, "TMPDIR": str(folder)}
    return Launch([*command, "--workers", "1", *LOCAL, str(port)], FOUND | env)


def bentoml(port: int, folder: Path) -> Launch:
    command = [str(ENVIRONMENT / "bin" / "bentoml"), "serve", "bench.bento:Late"]
    env = {"BENTOML_DO_NOT_TRACK": "True", "BENTOML_HOME": str(folder)}
    return Launch([*command, *LOCAL, str(port)], FOUND | env)


def bare(port: int, _: Path) -> Launch:
    command = [sys.executable, "-m", "uvicorn", "bench.bare:app", "--loop", "uvloop", "--http", "httptools"]
    return Launch([*command, "--no-access-log", "--log-level", "warning", *LOCAL, str(port)], {})


def make_environment() -> None:
    """BentoML's own: what it needs and what this project pins need not agree."""
    uv, python = str(TOOLS / "uv"), str(ENVIRONMENT / "bin" / "python")
    for command in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(ENVIRONMENT)],
        [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", python, str(LOCK)],
    ):
        subprocess.run(command, check=True)  # noqa: S603  our own commands


def at_each(bodies: list[str]) -> dict[str, Task]:
    """The same bodies over few and over many connections."""
    return {str(connections): Task(connections, bodies) for connections in CONNECTIONS}


def contenders() -> dict[str, Contender]:
    asked, many = entities.spread(ENTITIES), entities.spread(2 * max(LISTS))
    single = at_each(entities.single(asked))
    in_lists = {f"list of {size}": Task(LIST_CONNECTIONS, entities.lists(many, size, ENTITIES)) for size in LISTS}
    for_mlflow, for_bentoml = at_each(entities.rows(asked, "inputs")), at_each(entities.rows(asked, "rows"))
    ready, path = "/health/ready", "/v1/predictions"
    return {
        "ontime": Contender(partial(ontime, workers=1), ready, path, single | in_lists, _ours),
        "mlflow": Contender(mlflow, "/ping", "/invocations", for_mlflow, _mlflows),
        "bentoml": Contender(bentoml, "/readyz", "/predict", for_bentoml, lambda answer: answer[0]),
        "bare": Contender(bare, ready, path, single),
        "two workers": Contender(partial(ontime, workers=2), ready, path, {BUSY: single[BUSY]}, _ours),
    }


def _ours(answer: Any) -> float:
    return float((answer[0] if isinstance(answer, list) else answer)["probability"])


def _mlflows(answer: Any) -> float:
    return float(answer["predictions"]["probabilities"][0][1])
