"""`make bench-engines`: CPU time and memory of features and of `ontime score` on each engine, by number of rows.

With 1, 3 and 10 copies of each entity, as in `make bench-scale`, so the rows are synthetic. `loop` is one process. All
processes of an engine count, Spark's Java included. Files that differ from those of `loop` stop the bench. Writes
reports/bench_engines.json and reports/bench_engines.png. Needs `make train` and Java 17.
"""

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.resource_usage import run_measured
from bench.scale import COPIES, VAR, copy_rows, score_command
from bench.training_time import copy_project
from ontime import figures
from ontime.figures import Picture, axes_of, legend
from ontime.plots import PALETTE
from ontime.progress import progress_bar
from pipelines.layout import FEATURES, REPORTS, VALIDATED, write_json

ENGINES: Mapping[str, Mapping[str, str]] = {
    "loop": {"LOKY_MAX_CPU_COUNT": "1"},
    "local": {},
    "dask": {"ONTIME_ENGINE": "dask"},
    "spark": {"ONTIME_ENGINE": "spark"},
}
TASKS = ("features", "score")


def digest_of(paths: Sequence[Path]) -> str:
    whole = sha256()
    for path in sorted(paths):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def measure_engines(copies: int) -> list[dict[str, Any]]:
    runs, digests = [], dict[str, set[str]]()
    with tempfile.TemporaryDirectory(prefix="bench-engines-", dir=VAR) as name:
        folder = Path(name).resolve()
        copy_project(folder)
        copy_rows(VALIDATED, folder / VALIDATED, copies)
        output = folder / "scored.parquet"
        score, places = score_command(folder)
        for engine, variables in ENGINES.items():
            for task, command in (("features", [sys.executable, "-m", "pipelines.features"]), ("score", score)):
                output.unlink(missing_ok=True)
                usage = run_measured(command, folder, {**places, **variables}).rounded()
                written = [*(folder / FEATURES).iterdir()] if task == "features" else [output]
                digests.setdefault(task, set()).add(digest_of(written))
                if len(digests[task]) > 1:
                    raise SystemExit(f"bench-engines: {task} on {engine} wrote other bytes than loop")
                runs.append({"copies": copies, "engine": engine, "task": task, **usage})
    return runs


def draw_engines(runs: Sequence[dict[str, Any]]) -> Picture:
    def of(engine: str, name: str) -> list[float]:
        return [run[name] for run in runs if run["engine"] == engine and run["task"] == "features"]

    with axes_of(320) as (figure, above):
        above.remove()
        lines = {}
        titles = (("CPU seconds", "cpu_seconds"), ("peak memory of all processes, MB", "peak_mb"))
        for place, (axes, (title, name)) in enumerate(zip(figure.subplots(2, 1), titles, strict=True)):
            for engine, colour in zip(ENGINES, PALETTE, strict=False):
                lines[engine] = axes.plot(COPIES, of(engine, name), marker="o", color=colour)[0]
            axes.set(ylim=(0, None), xlim=(0, None), xlabel="copies of the rows" if place else "")
            axes.set_title(title, loc="left", fontsize=12)
            axes.set_xticks(COPIES)
        legend(figure, [(line, engine) for engine, line in lines.items()])
    loop = of("loop", "cpu_seconds")[-1]
    dask, spark = (of(engine, "cpu_seconds")[-1] / loop for engine in ("dask", "spark"))
    finding = (
        f"Dask takes {dask:.1f} and Spark {spark:.1f} times the CPU time of one process for {COPIES[-1]} times the rows"
    )
    return Picture(
        finding, "The stage features on each engine, two workers, copies of the same rows (synthetic)", figure
    )


def main() -> None:
    runs = [
        run for copies in progress_bar(COPIES, desc="bench-engines", unit="sizes") for run in measure_engines(copies)
    ]
    write_json(REPORTS / "bench_engines.json", {"cores": os.cpu_count(), "runs": runs})
    figures.save(draw_engines(runs), REPORTS / "bench_engines.png")
    print(f"{'copies':>6}  {'task':<10}{'engine':<8}{'s':>8}{'CPU s':>8}{'peak MB':>9}")
    for run in runs:
        usage = f"{run['seconds']:>8.1f}{run['cpu_seconds']:>8.1f}{run['peak_mb']:>9,.0f}"
        print(f"{run['copies']:>6}  {run['task']:<10}{run['engine']:<8}{usage}")


if __name__ == "__main__":
    main()
