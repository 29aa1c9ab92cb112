"""`make bench-runtimes`: the model of `make train` in ONNX Runtime, LightGBM, treelite and tl2cgen, on one thread.

All score the same rows of the test period, in one process and through their Python interfaces; the rounds take them in
turn. ONNX Runtime runs the model as it is released, with the masks of `ontime.category_masks`, and as it is converted,
without them. Treelite interprets LightGBM's trees; tl2cgen compiles them as C. The environment (var/runtimes-venv) has
the service's packages, in the same versions, and the other runtimes.

Writes reports/bench_runtimes.json. Stops if a runtime's probabilities differ from LightGBM's by more than
gate.parity_tolerance, over the test period with and without the features of the online store, or if the masks change a
bit. Needs `make train` and gcc or clang.
"""

import json
import os
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from bench.environments import make_environment
from ontime import export, model, release, schema, split
from ontime.boosting import LightGBM
from ontime.category_masks import CODES_IN_A_MASK
from ontime.params import Params, load_params
from pipelines.labelled import read_period
from pipelines.layout import MODELS, REBUILD, REPORTS, read_training, write_json
from pipelines.operations.packaging import spaced_rows

CANDIDATE = "lightgbm"
TIMED_ROWS = 4_000
LOCK, ENVIRONMENT = Path("requirements/runtimes.txt"), Path("var/runtimes-venv")
REPORT = REPORTS / "bench_runtimes.json"
LABELS = {
    "released": "ONNX Runtime, as released",
    "converted": "ONNX Runtime, as converted",
    "lightgbm": "LightGBM",
    "treelite": "treelite (GTIL)",
    "tl2cgen": "tl2cgen (C)",
}


def c_compiler() -> str:
    """The C compiler on PATH that tl2cgen can call."""
    for name in ("gcc", "clang"):
        if shutil.which(name):
            return name
    raise SystemExit(
        "bench-runtimes: neither gcc nor clang is on PATH, and tl2cgen compiles the model as C; run apt-get install "
        "gcc libc6-dev (Debian, Ubuntu) or xcode-select --install (macOS)"
    )


def fitted_model() -> LightGBM:
    path = MODELS / f"{CANDIDATE}.joblib"
    if not path.exists():
        raise SystemExit(f"bench-runtimes: {path} is missing; add {CANDIDATE} to train.candidates, and {REBUILD}")
    fitted: LightGBM = joblib.load(path)
    return fitted


def write_inputs(folder: Path, params: Params) -> dict[str, Any]:
    """Write the files that `bench.runtimes_client` reads, and return what the report says of them."""
    fitted, categories = fitted_model(), read_training()["categories"]
    models = {
        "released": export.to_onnx(CANDIDATE, fitted),
        "converted": export.from_lightgbm(fitted).SerializeToString(),
    }
    for name, content in models.items():
        (folder / f"{name}.onnx").write_bytes(content)
    fitted.booster_.save_model(folder / "model.txt")
    entities = read_period(split.periods(params.split)["test"])
    matrix = model.matrix_of(entities, categories)
    compared = np.vstack([matrix, model.request_only(matrix)])
    refuse_other_bits(models, compared)
    np.save(folder / "compared.npy", compared)
    timed = model.matrix_of(spaced_rows(entities, TIMED_ROWS), categories)
    np.save(folder / "timed.npy", timed)
    return {
        "trees": fitted.booster_.num_trees(),
        "features": len(schema.FEATURE_NAMES),
        "timed_rows": len(timed),
        "compared_rows": len(compared),
        "category_tests": {name: category_test_counts(content) for name, content in models.items()},
    }


def refuse_other_bits(models: Mapping[str, bytes], rows: NDArray[np.float32]) -> None:
    released, converted = (release.Model(models[name]).predict(rows) for name in ("released", "converted"))
    if differing := int((released != converted).sum()):
        raise SystemExit(f"bench-runtimes: the category masks change the probabilities of {differing:,} rows")


def category_test_counts(content: bytes) -> dict[str, int]:
    """The nodes BRANCH_EQ of a model, and those of them that ONNX Runtime can merge into masks."""
    (node,) = (each for each in onnx.load_from_string(content).graph.node if each.op_type == "TreeEnsembleClassifier")
    attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    nodes = zip(attributes["nodes_modes"], attributes["nodes_values"], strict=True)
    values = [value for mode, value in nodes if mode == b"BRANCH_EQ"]
    return {"nodes": len(values), "mergeable": sum(1 <= value <= CODES_IN_A_MASK for value in values)}


def run_client(folder: Path, compiler: str) -> dict[str, Any]:
    """Measure all runtimes in their environment. Exits with the end of the client's output if it fails."""
    root = Path.cwd()
    python = make_environment(LOCK, ENVIRONMENT).absolute()
    variables = {"PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}", "OMP_NUM_THREADS": "1"}
    command = [str(python), "-m", "bench.runtimes_client", compiler]
    ran = subprocess.run(command, cwd=folder, env=os.environ | variables, capture_output=True, text=True)  # noqa: S603  our own command
    if ran.returncode:
        raise SystemExit(f"bench-runtimes: the measurement failed: {(ran.stdout + ran.stderr)[-2000:]}")
    costs: dict[str, Any] = json.loads((folder / "costs.json").read_text("utf-8"))
    return costs


def report_of_runtimes(costs: Mapping[str, Any], tolerance: float) -> dict[str, Any]:
    """Medians of all rounds. Exits if a runtime's probabilities are not LightGBM's."""
    runtimes = {}
    for name, facts in costs["facts"].items():
        if not facts["largest_difference"] <= tolerance:
            raise SystemExit(
                f"bench-runtimes: {LABELS[name]} differs from LightGBM by {facts['largest_difference']:.2g}, more than "
                f"gate.parity_tolerance, {tolerance:g}"
            )
        medians = {
            each: statistics.median(one[name][each] for one in costs["rounds"]) for each in costs["rounds"][0][name]
        }
        packages = facts["package_megabytes"]
        runtimes[name] = {
            "package": f"{facts['package']} {facts['version']}",
            "load_seconds": round(medians.pop("load_seconds"), 4),
            "compile_cpu_seconds": round(costs["compile_cpu_seconds"], 1) if name == "tl2cgen" else 0,
            "cpu_microseconds_per_row": {size: round(value, 1) for size, value in medians.items()},
            "file_megabytes": round(facts["file_bytes"] / 1e6, 2),
            "package_megabytes": round(packages[facts["package"]], 1),
            "package_megabytes_with_dependencies": round(sum(packages.values()), 1),
            "largest_difference": facts["largest_difference"],
        }
    return {"rounds": len(costs["rounds"]), "runtimes": runtimes}


def print_runtimes(report: Mapping[str, Any]) -> None:
    print(f"\nmicroseconds of CPU a row, medians of {report['rounds']} rounds")
    sizes = next(iter(report["runtimes"].values()))["cpu_microseconds_per_row"]
    print(f"{'runtime':<28}" + "".join(f"{f'{size} a call':>12}" for size in sizes))
    for name, each in report["runtimes"].items():
        print(f"{LABELS[name]:<28}" + "".join(f"{value:>12}" for value in each["cpu_microseconds_per_row"].values()))
    print(f"\n{'runtime':<28}{'compile CPU s':>14}{'load s':>12}{'file MB':>12}{'packages MB':>12}{'difference':>12}")
    for name, each in report["runtimes"].items():
        print(
            f"{LABELS[name]:<28}{each['compile_cpu_seconds']:>14}{each['load_seconds']:>12}{each['file_megabytes']:>12}"
            f"{each['package_megabytes_with_dependencies']:>12}{each['largest_difference']:>12.1e}"
        )
    print(f"category tests: {report['category_tests']}")


def main() -> None:
    compiler, params = c_compiler(), load_params()
    with tempfile.TemporaryDirectory(prefix="bench-runtimes-") as name:
        folder = Path(name)
        inputs = write_inputs(folder, params)
        costs = run_client(folder, compiler)
    report = {"cores": os.cpu_count(), **inputs, **report_of_runtimes(costs, params.gate.parity_tolerance)}
    write_json(REPORT, report)
    print_runtimes(report)


if __name__ == "__main__":
    main()
