"""`make bench-batch`: files scored by `ontime score`, by size: rows per second of CPU, and the peak of its memory.

Writes reports/bench_batch.json. The rows are those of the test period, repeated; each run is a process of its own, on
one thread. With the online store, and without it (an empty database), beside the steps of one chunk alone. Needs
`make train`.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from tqdm import tqdm

from ontime import batch_scoring, database, online, release_pointer, split
from ontime.batch_scoring import FIELDS
from ontime.params import load_params
from ontime.problem.data import DATA
from ontime.settings import load_settings
from pipelines.layout import REPORTS, VALIDATED, read_months, write_json
from pipelines.operations import score_input

SIZES = (50_000, 250_000, 1_000_000)
CHUNK = 20_000
ROUNDS = 5
VAR = Path("var")  # on disk: /tmp may be in memory
REPORT = REPORTS / "bench_batch.json"


def rows_of_test_period() -> pd.DataFrame:
    """The requests of the test period, sorted by time."""
    params = load_params()
    period = split.periods(params.split)["test"]
    months = pd.period_range(str(period.start)[:7], str(period.until)[:7], freq="M").astype(str)
    rows = read_months(VALIDATED / DATA.entities, set(months))
    return rows.sort_values(DATA.event_at)[[*FIELDS]].reset_index(drop=True)


def run_score(source: Path, output: Path, variables: Mapping[str, str]) -> dict[str, float]:
    command = [sys.executable, "-m", "cli", "--quiet", "score", str(source), "--to", str(output)]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    measured = [sys.executable, "-c", MEASURE, *command]
    text = subprocess.run(measured, env={**os.environ, **variables}, check=True, capture_output=True, text=True).stdout  # noqa: S603  our own command
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": time.monotonic() - started, "cpu_seconds": cpu_s, "peak_mb": int(text.split()[-1]) / 1024}


# The peak of a child is that of the largest one so far, so each has a parent of its own.
MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def microseconds_per_row(step: Callable[[], Any], rows: int) -> float:
    """The least CPU time of some rounds."""
    times = []
    for _ in range(ROUNDS):
        started = time.process_time()
        step()
        times.append(time.process_time() - started)
    return round(1e6 * min(times) / rows, 2)


def steps_of_a_chunk(source: Path) -> dict[str, float]:
    settings = load_settings()
    release = release_pointer.load_live(settings.releases)
    look_up = batch_scoring.from_online_store(database.connect(settings.database_url), release.manifest.question)
    chunk = next(score_input.chunks_of(source))
    _, requests, _ = batch_scoring.requests_of(chunk.records)
    scored = batch_scoring.score_requests(release, requests, look_up)
    rows = [online.EMPTY_ROW if each is None else each.online for each in scored.stored]
    steps: dict[str, Callable[[], Any]] = {
        "read": lambda: next(score_input.chunks_of(source)),
        "check the requests": lambda: batch_scoring.requests_of(chunk.records),
        "look features up": lambda: look_up(requests),
        "build the model's input": lambda: online.request_matrix(requests, rows, release),
        "run the model": lambda: release.model.predict(scored.matrix),
    }
    return {name: microseconds_per_row(step, len(requests)) for name, step in steps.items()}


def main() -> None:
    period, runs = rows_of_test_period(), []
    with tempfile.TemporaryDirectory(prefix="bench-batch-", dir=VAR) as name:
        folder = Path(name)
        databases = {"online store": {}, "request only": {"ONTIME_DATABASE_URL": f"sqlite:///{folder}/empty.db"}}
        for size in tqdm(SIZES, desc="bench-batch", disable=None):
            source = folder / f"{size}.parquet"
            repeated = pd.concat([period] * (size // len(period) + 1))[:size]
            repeated.to_parquet(source, index=False, row_group_size=CHUNK)
            for features, variables in databases.items():
                output = folder / f"{size}-{features.replace(' ', '-')}.parquet"
                figures = run_score(source.resolve(), output.resolve(), variables)
                scored = pq.read_metadata(output).num_rows
                runs.append({"rows": scored, "features": features, **{k: round(v, 1) for k, v in figures.items()}})
        steps = steps_of_a_chunk(folder / f"{SIZES[0]}.parquet")
    # Between two sizes, so that the start of the process does not count.
    rates = {}
    for features in databases:
        small, *_, large = (run for run in runs if run["features"] == features)
        rates[features] = round((large["rows"] - small["rows"]) / (large["cpu_seconds"] - small["cpu_seconds"]))
    report = {"rows_per_cpu_second": rates, "cpu_microseconds_per_row": steps, "runs": runs}
    write_json(REPORT, report)
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
