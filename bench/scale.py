"""`make bench-scale`: CPU time and peak memory of the stages with 1, 3 and 10 times as many rows.

The rows are synthetic: each entity is copied under other ids, so every hour has k times as many entities. That says how
the stages grow, and nothing about a model. LightGBM is the only candidate. From the two largest runs it computes how
many rows of the training period would fit into the memory of one machine. Writes reports/bench_scale.json and
reports/bench_scale.png. Needs `make train`.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from bench.training_time import copy_project, run_measured
from ontime import figures
from ontime.datasets import KEY
from ontime.figures import Picture, axes_of, legend
from ontime.plots import PALETTE
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from pipelines.layout import FEATURES, REPORTS, VALIDATED, months_in, read_json, write_json, write_table

COPIES = (1, 3, 10)
STAGES = ("features", "train", "evaluate")
MEMORY_GB = (8, 24, 128)
VAR = Path("var")  # on disk: /tmp may be in memory


def copy_rows(folder: Path, copies: int) -> None:
    """Write data/validated of a project folder with so many copies of each entity, in the order of the events."""
    shutil.copytree(VALIDATED, folder / VALIDATED)
    for month in months_in(VALIDATED / DATA.entities):
        name = Path(DATA.entities, f"{month}.parquet")
        rows = pd.read_parquet(VALIDATED / name)
        copied = pd.concat([rows.assign(**{KEY: f"{number}-" + rows[KEY]}) for number in range(copies)])
        write_table(copied.sort_values([DATA.event_at, KEY], ignore_index=True), folder / VALIDATED / name)


def measure_copies(copies: int) -> dict[str, Any]:
    """The usage of each stage, and the number of rows that it works on."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=VAR) as name:
        folder = Path(name).resolve()
        copy_project(folder)
        copy_rows(folder, copies)
        usage = {stage: run_measured([sys.executable, "-m", f"pipelines.{stage}"], folder) for stage in STAGES}
        stages = {
            stage: {name: round(value, 1) for name, value in each._asdict().items()} for stage, each in usage.items()
        }
        entities = read_json(folder / REPORTS / "evaluation.json")["entities"]
        built = sum(pq.read_metadata(path).num_rows for path in (folder / FEATURES).glob("*.parquet"))
        rows = dict(zip(STAGES, (built, entities["train"], entities["test"]), strict=True))
        return {"copies": copies, "stages": {stage: {"rows": rows[stage], **stages[stage]} for stage in STAGES}}


def growth(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of each stage: the bytes and the CPU time of a further row between the last two runs, and how the latter grew.

    `cpu_growth` divides it by the CPU time of a further row between the first two runs. Memory that does not depend on
    the number of rows, such as LightGBM's sample of 200,000, hides part of the bytes between the first two.
    """
    grown = {}
    for stage in STAGES:
        usage = [run["stages"][stage] for run in runs]
        memory = (usage[-1]["peak_mb"] - usage[-2]["peak_mb"]) / (usage[-1]["rows"] - usage[-2]["rows"])
        slopes = [
            (large["cpu_seconds"] - small["cpu_seconds"]) / (large["rows"] - small["rows"])
            for small, large in pairwise(usage)
        ]
        grown[stage] = {
            "bytes_per_row": round(1e6 * memory),
            "cpu_microseconds_per_row": round(1e6 * slopes[-1], 1),
            "cpu_growth": round(slopes[-1] / slopes[0], 2),
        }
    return grown


def largest_training(runs: Sequence[dict[str, Any]], grown: dict[str, dict[str, float]]) -> list[dict[str, float]]:
    """The millions of rows at which `train` needs all of the memory, and its CPU hours then.

    An extrapolation: the line through the last two runs.
    """
    last, each = runs[-1]["stages"]["train"], grown["train"]
    sizes = []
    for gigabytes in MEMORY_GB:
        more = (1e9 * gigabytes - 1e6 * last["peak_mb"]) / each["bytes_per_row"]
        hours = (last["cpu_seconds"] + 1e-6 * each["cpu_microseconds_per_row"] * more) / 3600
        sizes.append(
            {"gb": gigabytes, "million_rows": round((last["rows"] + more) / 1e6), "cpu_hours": round(hours, 1)}
        )
    return sizes


def draw(runs: Sequence[dict[str, Any]], grown: dict[str, dict[str, float]]) -> Picture:
    copies = [run["copies"] for run in runs]
    with axes_of(320) as (figure, above):
        above.remove()
        lines = {}
        for place, (axes, (title, name)) in enumerate(
            zip(figure.subplots(2, 1), (("CPU seconds", "cpu_seconds"), ("peak memory, MB", "peak_mb")), strict=True)
        ):
            for stage, colour in zip(STAGES, PALETTE, strict=False):
                values = [run["stages"][stage][name] for run in runs]
                lines[stage] = axes.plot(copies, values, marker="o", color=colour)[0]
            axes.set(ylim=(0, None), xlim=(0, None), xlabel="copies of the rows" if place else "")
            axes.set_title(title, loc="left", fontsize=12)
            axes.set_xticks(copies)
        legend(figure, [(line, stage) for stage, line in lines.items()])
    small, large = (run["stages"]["train"]["cpu_seconds"] for run in (runs[0], runs[-1]))
    finding = (
        f"A row of the training period takes {grown['train']['bytes_per_row']:,} bytes of memory, and "
        f"{copies[-1]} times the rows take {large / small:.1f} times the CPU time"
    )
    return Picture(finding, "Stages with copies of the same rows (synthetic), LightGBM alone", figure)


def main() -> None:
    runs = [measure_copies(copies) for copies in progress_bar(COPIES, desc="bench-scale", unit="sizes")]
    grown = growth(runs)
    sizes = largest_training(runs, grown)
    content = {"cores": os.cpu_count(), "runs": runs, "growth": grown, "largest_training": sizes}
    write_json(REPORTS / "bench_scale.json", content)
    figures.save(draw(runs, grown), REPORTS / "bench_scale.png")
    print(f"{'copies':>6}  {'stage':<10}{'rows':>12}{'CPU s':>8}{'peak MB':>9}")
    for run in runs:
        for stage, usage in run["stages"].items():
            figures_of_stage = f"{usage['rows']:>12,}{usage['cpu_seconds']:>8.1f}{usage['peak_mb']:>9,.0f}"
            print(f"{run['copies']:>6}  {stage:<10}{figures_of_stage}")
    for stage, each in grown.items():
        print(f"{stage}: {each['bytes_per_row']:,} bytes a row, CPU time of a further row x {each['cpu_growth']}")
    for size in sizes:
        print(
            f"train: {size['million_rows']:,} million rows fit into {size['gb']} GB, in {size['cpu_hours']} CPU hours"
        )


if __name__ == "__main__":
    main()
