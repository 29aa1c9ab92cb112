"""The runtimes of `bench.runtimes`, in the environment of requirements/runtimes.txt.

    python -m bench.runtimes_client gcc

The current folder has the model as released.onnx, converted.onnx and model.txt (LightGBM's), the rows that are timed as
timed.npy, and those whose probabilities are compared as compared.npy. Results are written to costs.json. Every runtime
has one thread, and is called through its Python interface with float32 rows, as a service would.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import lightgbm
import numpy as np
import tl2cgen
import treelite
from numpy.typing import NDArray
from packaging.requirements import Requirement

from bench.call_cost import cost_of_calls
from ontime.release import Model

ROUNDS = 9
SIZES = (1, 64, 1000)  # rows a call
LIGHTGBM_MODEL, COMPILED_MODEL = Path("model.txt"), Path("model.so")

Rows = NDArray[np.float32]
PredictRows = Callable[[Rows], NDArray[np.floating[Any]]]


class Runtime(NamedTuple):
    """`start` loads the file."""

    package: str
    file: Path
    start: Callable[[Path], PredictRows]


def start_onnx(file: Path) -> PredictRows:
    return Model(file.read_bytes()).predict


def start_lightgbm(file: Path) -> PredictRows:
    booster = lightgbm.Booster(model_file=file)
    return lambda rows: np.asarray(booster.predict(rows, num_threads=1))


def start_treelite(file: Path) -> PredictRows:
    trees = treelite.frontend.load_lightgbm_model(file)
    return lambda rows: treelite.gtil.predict(trees, rows, nthread=1)[:, 0, 0]


def start_compiled(file: Path) -> PredictRows:
    predictor = tl2cgen.Predictor(file, nthread=1)
    return lambda rows: predictor.predict(tl2cgen.DMatrix(rows))[:, 0, 0]


RUNTIMES: Mapping[str, Runtime] = {
    "released": Runtime("onnxruntime", Path("released.onnx"), start_onnx),
    "converted": Runtime("onnxruntime", Path("converted.onnx"), start_onnx),
    "lightgbm": Runtime("lightgbm", LIGHTGBM_MODEL, start_lightgbm),
    "treelite": Runtime("treelite", LIGHTGBM_MODEL, start_treelite),
    "tl2cgen": Runtime("tl2cgen", COMPILED_MODEL, start_compiled),
}


def cpu_seconds_so_far() -> float:
    """The CPU time of this process and of those that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def compile_model(compiler: str) -> float:
    """Compile LightGBM's trees as C, and return the seconds of CPU time that this takes."""
    started = cpu_seconds_so_far()
    trees = treelite.frontend.load_lightgbm_model(LIGHTGBM_MODEL)
    tl2cgen.export_lib(trees, compiler, COMPILED_MODEL, params={"parallel_comp": 4})
    return cpu_seconds_so_far() - started


def package_megabytes(package: str) -> dict[str, float]:
    """The sizes of this package and of all that it needs, as installed."""
    sizes, waiting = dict[str, float](), [package]
    while waiting:
        name = waiting.pop()
        if name not in sizes:
            installed = metadata.distribution(name)
            files = [Path(str(installed.locate_file(file))) for file in installed.files or ()]
            sizes[name] = sum(file.stat().st_size for file in files) / 1e6
            needed = map(Requirement, installed.requires or ())
            waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return sizes


def measured_round(rows: Rows) -> dict[str, dict[str, float]]:
    """Of each runtime: the seconds to load it, and for each size of a call the microseconds of CPU a row."""
    predictors, costs = dict[str, PredictRows](), dict[str, dict[str, float]]()
    for name, runtime in RUNTIMES.items():
        started = time.perf_counter()
        predictors[name] = runtime.start(runtime.file)
        costs[name] = {"load_seconds": time.perf_counter() - started}
    for size in SIZES:
        calls = [rows[first : first + size] for first in range(0, len(rows) - size + 1, size)]
        for name, predict in predictors.items():
            predict(calls[0])
            costs[name][str(size)] = 1e6 * cost_of_calls(predict, calls).cpu_seconds / size
    return costs


def facts_of(runtime: Runtime, rows: Rows, expected: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """What is the same in every round; `largest_difference` is that of its probabilities from `expected`."""
    difference = np.abs(runtime.start(runtime.file)(rows) - expected).max()
    return {
        "package": runtime.package,
        "version": metadata.version(runtime.package),
        "file_bytes": runtime.file.stat().st_size,
        "package_megabytes": package_megabytes(runtime.package),
        "largest_difference": float(difference),
    }


def main() -> None:
    costs: dict[str, Any] = {"compile_cpu_seconds": compile_model(sys.argv[1])}
    timed, compared = np.load("timed.npy"), np.load("compared.npy")
    costs["rounds"] = [measured_round(timed) for _ in range(ROUNDS)]
    expected = start_lightgbm(LIGHTGBM_MODEL)(compared)
    costs["facts"] = {name: facts_of(runtime, compared, expected) for name, runtime in RUNTIMES.items()}
    Path("costs.json").write_text(json.dumps(costs), "utf-8")


if __name__ == "__main__":
    main()
