"""The command and the requests of each server that `bench.serve` measures."""

import os
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from bench import entities
from bench.environments import TOOLS
from bench.server_comparison import VAR, Contender, Launch, LoadTask
from ontime import registry
from ontime.settings import Settings
from tests import postgres

CONNECTIONS = (1, 16, 64)
ALONE, BUSY = str(CONNECTIONS[0]), str(CONNECTIONS[-1])
LISTS, LIST_CONNECTIONS = (1, 10, 100, 1000), 4
ENTITIES = 200

LOCK, ENVIRONMENT = Path("requirements/bench.txt"), VAR / "bench-venv"
LOCAL = "--host", "127.0.0.1", "--port"
# MLflow looks for uvicorn on PATH; this project is not installed in BentoML's environment.
PATHS = {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": f"{Path.cwd()}:{Path('src').resolve()}"}


class CorePrefixes(NamedTuple):
    """What comes before the commands of a server and of the load tool, so that they run on cores of their own."""

    server: Sequence[str] = ()
    load_tool: Sequence[str] = ()


def separate_cores(cores: Sequence[int]) -> CorePrefixes:
    """The last core is for the load tool, the others are for the server. With fewer than three, they share all.

    >>> separate_cores([0, 1, 2])
    CorePrefixes(server=('taskset', '-c', '0,1'), load_tool=('taskset', '-c', '2'))
    >>> separate_cores([0, 1])
    CorePrefixes(server=(), load_tool=())
    """
    if len(cores) < 3:
        return CorePrefixes()
    *others, last = map(str, sorted(cores))
    return CorePrefixes(("taskset", "-c", ",".join(others)), ("taskset", "-c", last))


def launch_ontime(
    port: int, folder: Path, workers: int, database_url: str | None = None, prefix: Sequence[str] = ()
) -> Launch:
    """This service, on that database, or on a copy of this folder's online store."""
    if database_url is None:
        copy = folder / "ontime.db"
        with closing(sqlite3.connect(entities.DATABASE)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
        database_url = f"sqlite:///{copy}"
    settings = {
        "port": port,
        "workers": workers,
        "database_url": database_url,
        "spool": folder / "spool",
        "releases": entities.RELEASES,
    }
    env = {f"ONTIME_{name.upper()}": str(value) for name, value in settings.items()}
    return Launch([*prefix, sys.executable, "-m", "serving"], env)


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


def serving_contenders(database: postgres.Server, prefixes: CorePrefixes) -> dict[str, Contender]:
    """In the order of a round: those that are compared are next to each other, except for BentoML's.

    `prefixes` are for one worker and for two, because only two could use the core of the load tool.
    """
    requests, many = entities.evenly_spaced(ENTITIES), entities.evenly_spaced(2 * max(LISTS))
    single = at_each(entities.single(requests))
    in_lists = {f"list of {size}": LoadTask(LIST_CONNECTIONS, entities.lists(many, size, ENTITIES)) for size in LISTS}
    for_mlflow, for_bentoml = (
        at_each(entities.model_rows(requests, "inputs")),
        at_each(entities.model_rows(requests, "rows")),
    )
    url = database.new_database()
    entities.copy_features(url)
    ready, path, busy = "/health/ready", "/v1/predictions", {BUSY: single[BUSY]}
    ours = partial(Contender, ready=ready, path=path, probability=_probability_of_ours)
    return {
        "bentoml": Contender(launch_bentoml, "/readyz", "/predict", for_bentoml, lambda answer: answer[0]),
        "bare": Contender(launch_bare, ready, path, single),
        "ontime": ours(partial(launch_ontime, workers=1), tasks=single | in_lists),
        "mlflow": Contender(launch_mlflow, "/ping", "/invocations", for_mlflow, _probability_of_mlflow),
        "postgresql": ours(
            partial(launch_ontime, workers=1, database_url=url), tasks=busy, other_cpu=database.cpu_seconds
        ),
        **{
            name: ours(
                partial(launch_ontime, workers=workers, prefix=prefixes.server),
                tasks=busy,
                load_prefix=prefixes.load_tool,
            )
            for name, workers in (("one worker", 1), ("two workers", 2))
        },
    }


def _probability_of_ours(answer: Any) -> float:
    return float((answer[0] if isinstance(answer, list) else answer)["probability"])


def _probability_of_mlflow(answer: Any) -> float:
    return float(answer["predictions"]["probabilities"][0][1])
