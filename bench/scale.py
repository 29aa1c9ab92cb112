"""`make bench-scale`: CPU time and peak memory of the stages and of `ontime score`, with more rows and more months.

With 1, 3 and 10 copies of each entity under other ids, so every hour has k times as many: these rows are synthetic,
which says how the stages grow, and nothing about a model. Then with the first 3, 6 and 12 months as they are. LightGBM
is the only candidate. From the two largest runs it computes how many rows of the training period would fit into the
memory of one machine. Writes reports/bench_scale.json and reports/bench_scale.png. Needs `make train`.
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from bench import ingest_parts
from bench.resource_usage import run_measured
from bench.training_time import copy_project
from ontime import figures
from ontime.batch_scoring import FIELDS
from ontime.datasets import KEY
from ontime.figures import Picture, axes_of, legend
from ontime.plots import PALETTE
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from ontime.settings import load_settings
from pipelines.layout import (
    INGESTED,
    REPORTS,
    VALIDATED,
    all_months,
    months_in,
    read_json,
    write_json,
    write_record,
    write_table,
)

COPIES = (1, 3, 10)
MONTHS = (3, 6, 12)
BY_MONTH = ("ingest", "validate", "explore", "features")  # the others work on the periods of params.yaml
STAGES = (*BY_MONTH, "train", "evaluate", "score")
MEMORY_GB = (8, 24, 128)
VAR = Path("var")  # on disk: /tmp may be in memory


def copy_rows(source: Path, target: Path, copies: int = 1, months: Sequence[str] | None = None) -> None:
    """Write a folder of tables with so many copies of each entity, in the order of the events, of those months."""
    chosen = all_months(source) if months is None else months
    target.mkdir(parents=True)
    for table in DATA.tables:
        if table.moment is None:
            shutil.copy(source / f"{table.name}.parquet", target)
            continue
        (target / table.name).mkdir()
        for path in sorted((source / table.name).glob("*.parquet")):
            if path.stem not in chosen:
                continue
            rows = pd.read_parquet(path)
            if table.name == DATA.entities:
                copied = pd.concat([rows.assign(**{KEY: f"{number}-" + rows[KEY]}) for number in range(copies)])
                rows = copied.sort_values([DATA.event_at, KEY], ignore_index=True)
            write_table(rows, target / table.name / path.name)
    write_record(target)


def score_command(folder: Path) -> tuple[list[str], dict[str, str]]:
    """`ontime score` of the last month, and its environment; the features come from the tables of the folder."""
    last = months_in(folder / VALIDATED / DATA.entities)[-1]
    rows = pd.read_parquet(folder / VALIDATED / DATA.entities / f"{last}.parquet", columns=[*FIELDS])
    rows.to_parquet(folder / "rows.parquet", index=False)
    settings = load_settings()
    places = {"ONTIME_RELEASES": settings.releases, "ONTIME_TRUSTED_KEYS": settings.trusted_keys}
    command = ["-m", "cli", "--quiet", "score", "rows.parquet", "--to", "scored.parquet", "--history", str(VALIDATED)]
    return [sys.executable, *command], {name: str(path.resolve()) for name, path in places.items()}


def accept_other_ids(folder: Path) -> None:
    """The copies' ids are not those that their requests compute: let `validate` compare none of its 200 a month."""
    path, checked = folder / "src/ontime/requests.py", "CHECKED_ROWS = 200"
    text = path.read_text(encoding="utf-8")
    if checked not in text:
        raise SystemExit(f"bench-scale: {path.name} has no line `{checked}`")
    path.write_text(text.replace(checked, "CHECKED_ROWS = 0"), encoding="utf-8")


def entity_rows(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in (folder / VALIDATED / DATA.entities).glob("*.parquet"))


def measure_stages_of(stages: Sequence[str], copies: int = 1, months: int | None = None) -> dict[str, Any]:
    """The usage of each stage, and the number of rows that it works on."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-", dir=VAR) as name:
        folder = Path(name).resolve()
        copy_project(folder)
        accept_other_ids(folder)
        shutil.copytree("bench", folder / "bench")
        copy_rows(INGESTED, folder / ingest_parts.GROWN, copies, all_months(INGESTED)[:months])
        usage = {}
        for stage in stages:
            command, variables = [sys.executable, "-m", f"pipelines.{stage}"], dict[str, str]()
            if stage == "ingest":
                command = [sys.executable, "-m", "bench.ingest_parts"]
            elif stage == "score":
                command, variables = score_command(folder)
            usage[stage] = run_measured(command, folder, variables).rounded()
        rows = dict.fromkeys(BY_MONTH, entity_rows(folder))
        if "evaluate" in stages:
            entities = read_json(folder / REPORTS / "evaluation.json")["entities"]
            rows |= {"train": entities["train"], "evaluate": entities["test"]}
            rows["score"] = pq.read_metadata(folder / "scored.parquet").num_rows
        return {stage: {"rows": rows[stage], **each} for stage, each in usage.items()}


def growth(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Of each stage: the bytes and the CPU time of a further row between the last two runs, and how the latter grew.

    `cpu_growth` divides it by the CPU time of a further row between the first two runs; for a stage of a few seconds it
    is noise, and None if more rows took no more time. Memory that does not depend on the number of rows, such as
    LightGBM's sample of 200,000, hides part of the bytes between the first two. `cpu_times` and `peak_times` divide the
    last run by the first.
    """
    grown = {}
    for stage in runs[0]["stages"]:
        usage = [run["stages"][stage] for run in runs]
        memory = (usage[-1]["peak_mb"] - usage[-2]["peak_mb"]) / (usage[-1]["rows"] - usage[-2]["rows"])
        slopes = [
            (large["cpu_seconds"] - small["cpu_seconds"]) / (large["rows"] - small["rows"])
            for small, large in pairwise(usage)
        ]
        grown[stage] = {
            "bytes_per_row": round(1e6 * memory),
            "cpu_microseconds_per_row": round(1e6 * slopes[-1], 1),
            "cpu_growth": round(slopes[-1] / slopes[0], 2) if slopes[0] > 0 else None,
            "cpu_times": round(usage[-1]["cpu_seconds"] / usage[0]["cpu_seconds"], 1),
            "peak_times": round(usage[-1]["peak_mb"] / usage[0]["peak_mb"], 2),
        }
    return grown


def largest_training(runs: Sequence[dict[str, Any]], grown: Mapping[str, Mapping[str, Any]]) -> list[dict[str, float]]:
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


def draw(
    runs: Sequence[Mapping[str, Any]], by_month: Sequence[Mapping[str, Any]], growths: Mapping[str, Mapping[str, Any]]
) -> Picture:
    panels = (
        ("CPU seconds", "cpu_seconds", runs, "copies"),
        ("peak memory, MB", "peak_mb", runs, "copies"),
        ("peak memory, MB", "peak_mb", by_month, "months"),
    )
    with axes_of(470) as (figure, above):
        above.remove()
        lines: dict[str, Any] = {}
        for axes, (title, name, of, size) in zip(figure.subplots(3, 1), panels, strict=True):
            sizes = [run[size] for run in of]
            for stage, colour in zip(STAGES, PALETTE, strict=False):
                if stage in of[0]["stages"]:
                    values = [run["stages"][stage][name] for run in of]
                    line = axes.plot(sizes, values, marker="o", color=colour)[0]
                    lines.setdefault(stage, line)
            axes.set(ylim=(0, None), xlim=(0, None), xlabel=f"{size} of rows" if size == "copies" else size)
            axes.set_title(title, loc="left", fontsize=12)
            axes.set_xticks(sizes)
        legend(figure, [(line, stage) for stage, line in lines.items()])
    cpu, peak = (
        max(each[name] for each in growths[size].values())
        for size, name in (("copies", "cpu_times"), ("months", "peak_times"))
    )
    rows, months = (of[-1][size] / of[0][size] for of, size in ((runs, "copies"), (by_month, "months")))
    finding = (
        f"{rows:.0f} times the rows take at most {cpu:.1f} times the CPU time, "
        f"and {months:.0f} times the months at most {peak:.1f} times the memory"
    )
    return Picture(finding, "Copies of the same rows (synthetic), and real months; LightGBM alone", figure)


def print_runs(runs: Sequence[Mapping[str, Any]], size: str) -> None:
    print(f"{size:>6}  {'stage':<10}{'rows':>12}{'CPU s':>8}{'peak MB':>9}")
    for run in runs:
        for stage, usage in run["stages"].items():
            figures_of_stage = f"{usage['rows']:>12,}{usage['cpu_seconds']:>8.1f}{usage['peak_mb']:>9,.0f}"
            print(f"{run[size]:>6}  {stage:<10}{figures_of_stage}")


def main() -> None:
    sizes = [{"copies": copies} for copies in COPIES] + [{"months": months} for months in MONTHS]
    runs = []
    for size in progress_bar(sizes, desc="bench-scale", unit="sizes"):
        stages = STAGES if "copies" in size else BY_MONTH
        runs.append({**size, "stages": measure_stages_of(stages, **size)})
    copied, by_month = runs[: len(COPIES)], runs[len(COPIES) :]
    grown = growth(copied)
    growths, largest = {"copies": grown, "months": growth(by_month)}, largest_training(copied, grown)
    runs_of = {"copies": copied, "months": by_month}
    content = {"cores": os.cpu_count(), "runs": runs_of, "growth": growths, "largest_training": largest}
    write_json(REPORTS / "bench_scale.json", content)
    figures.save(draw(copied, by_month, growths), REPORTS / "bench_scale.png")
    for title, each in growths.items():
        print_runs(runs_of[title], title)
        for stage, by_row in each.items():
            print(
                f"{title}: {stage}: {by_row['bytes_per_row']:,} bytes a further row, CPU time x {by_row['cpu_times']}, "
                f"peak x {by_row['peak_times']}, CPU time of a further row x {by_row['cpu_growth']}"
            )
    for memory in largest:
        rows, gigabytes = memory["million_rows"], memory["gb"]
        print(f"train: {rows:,} million rows fit into {gigabytes} GB, in {memory['cpu_hours']} CPU hours")


if __name__ == "__main__":
    main()
