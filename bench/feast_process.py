"""Runs bench/feast_client.py, with a copy of examples/feast, in the environment of requirements/feast.txt."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bench.call_cost import CallCost
from bench.environments import make_environment
from bench.feast_tables import UNKNOWN
from bench.resource_usage import run_measured
from ontime.datasets import KEY
from ontime.params import PARAMS_FILE
from pipelines.layout import FEATURES

EXAMPLE, LOCK = Path("examples/feast"), Path("requirements/feast.txt")
ENVIRONMENT = Path("var/feast-venv")


def look_up_plan(rows: pd.DataFrame, look_ups: Mapping[int, int]) -> dict[str, Any]:
    """Which rows to materialise, and which entities to look up: others in each call, drawn with a fixed seed.

    `look_ups` has the number of calls by the number of entities in one.
    """
    generator = np.random.default_rng(1)
    ids = rows[KEY].to_numpy(object)
    return {
        "since": rows["moment"].min().isoformat(),
        "until": rows["moment"].max().isoformat(),
        "ids": [*ids, UNKNOWN],
        "look_ups": {
            str(size): [generator.choice(ids, size, replace=False).tolist() for _ in range(calls)]
            for size, calls in look_ups.items()
        },
    }


def make_feast_project(
    folder: Path, history: Sequence[pd.DataFrame], plan: Mapping[str, Any], params: Path = PARAMS_FILE
) -> Path:
    """A folder in which examples/feast finds params.yaml and, instead of the project's, these rows of features."""
    (folder / FEATURES).mkdir(parents=True)
    for number, table in enumerate(history):
        table.to_parquet(folder / FEATURES / f"{number}.parquet", index=False)
    shutil.copytree(EXAMPLE, folder / EXAMPLE, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(params, folder / PARAMS_FILE)
    (folder / "var/feast").mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(plan), "utf-8")
    return folder


def run_feast(folder: Path, step: str, configuration: str, address: str = "") -> dict[str, Any]:
    """Run a step of the client in such a folder, and return the costs that it measured. `address` is that of Redis."""
    root = Path.cwd()
    python = make_environment(LOCK, ENVIRONMENT).absolute()
    variables = {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}", "FEAST_REDIS": address}
    run_measured([str(python), "-m", "bench.feast_client", step, configuration], folder, variables)
    return _costs(json.loads((folder / "costs.json").read_text("utf-8")))


def _costs(value: Any) -> Any:
    """The inverse of what the client does with its costs to write them as JSON."""
    if not isinstance(value, dict):
        return value
    return CallCost(**value) if "cpu_seconds" in value else {name: _costs(each) for name, each in value.items()}
