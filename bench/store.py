"""`make bench-store`: what the service and the daily operations cost after years, beside their cost after a month.

Two SQLite databases (bench/store_rows.py): one with 200,000 predictions of 28 days, one with ROWS predictions, of which
the last 28 days are the same. So the day, the hour and the trial that are measured have equally many rows, and what
differs is the past. Each measurement is repeated on both; its cost is wall-clock seconds (the median), and seconds of
CPU (the mean), which other programs on the machine disturb less. Writes reports/bench_store.json.
"""

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]  # it ships no types
from pydantic import SecretStr
from tqdm import tqdm

from bench import entities, load, store_rows
from bench.store_rows import PERIOD_DAYS, PERIOD_ROWS, Versions
from monitoring import performance
from ontime import database, environment, local_time, release, release_pointer
from ontime.params import Params, load_params
from ontime.settings import Settings
from pipelines.layout import REPORTS, write_json
from pipelines.operations import monitor
from pipelines.operations.local_server import free_port
from pipelines.tools import backup, compare_releases, performance_report

ROWS = 20_000_000
BYTES_PER_ROW = 1_400  # of disk space: the database, its backup, and the files that sort the indexes
VAR = Path("var")  # another temporary folder may be in memory
SMALL, LONG = "small", "long"
MONITORED_DAYS = 3
HOUR_ROWS, BUSY_ROWS = 20_000, 1_000_000  # predictions in the last hour
MINUTES = 59  # of the hour that /ops counts, so that none is too old when it is asked
BATCH_ROWS = 1_000
REQUESTS = 10
STARTS = 3
MB = 1e6


class OperationCost(NamedTuple):
    seconds: float
    cpu_seconds: float


def cost_of(run: Callable[[], object], times: int = 1, process: psutil.Process | None = None) -> OperationCost:
    """The cost of one run: the median of the seconds, the mean of the CPU time of `process` (None: this one)."""
    process = process or psutil.Process()
    seconds, cpu_before = [], _cpu_seconds(process)
    for _ in range(times):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return OperationCost(statistics.median(seconds), (_cpu_seconds(process) - cpu_before) / times)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


class MeasuredStore(NamedTuple):
    """A database to measure, with releases and folders of its own."""

    path: Path
    settings: Settings

    @classmethod
    def at(cls, path: Path, releases: Path) -> "MeasuredStore":
        url = SecretStr(f"sqlite:///{path}")
        folder = path.with_suffix("")
        settings = Settings(
            database_url=url,
            releases=releases,
            spool=folder / "spool",
            evidently=folder / "evidently",
            backup={"ontime": url},
            weeks_behind=0,
        )
        return cls(path, settings)

    @property
    def megabytes(self) -> float:
        return self.path.stat().st_size / MB


def make_stores(
    folder: Path, releases: Path, rows: int, versions: Versions, params: Params
) -> tuple[MeasuredStore, MeasuredStore]:
    """Both databases, with the decisions of all but the last days, which the monitor has yet to measure."""
    yesterday = local_time.day_of(datetime.now(UTC)) - timedelta(days=1)
    monitored_until = yesterday - timedelta(days=MONITORED_DAYS)
    release_pointer.set_challenger(releases, versions.challenger.manifest.version)
    small, long = (MeasuredStore.at(folder / f"{name}.db", releases) for name in (SMALL, LONG))
    store_rows.write_period(small.path, versions, yesterday)
    evidence = _monitor_evidence(small, params, monitored_until)
    store_rows.write_years(long.path, small.path, rows // PERIOD_ROWS, versions)
    for store, periods in ((small, 1), (long, rows // PERIOD_ROWS)):
        first = yesterday - timedelta(days=PERIOD_DAYS * periods - 1)
        days = [first + timedelta(days=count) for count in range((monitored_until - first).days + 1)]
        store_rows.write_decisions(store.path, days, evidence, versions)
    return small, long


def _monitor_evidence(store: MeasuredStore, params: Params, day: date) -> dict[str, Any]:
    """The evidence of a run of the monitor on a copy of the store."""
    copy = MeasuredStore.at(store.path.with_name("copy.db"), store.settings.releases)
    backup_of(store.path, copy.path)
    monitor.run(copy.settings, params, day)
    row = database.last_decision(database.connect(copy.settings.database_url), "monitor")
    copy.path.unlink()
    return dict(row.evidence) if row else {}


def backup_of(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)


def measure_store(
    store: MeasuredStore, versions: Versions, params: Params, bar: "tqdm[Any]"
) -> dict[str, OperationCost]:
    """The cost of each operation, by its name in the report."""
    costs: dict[str, OperationCost] = {}

    def step(name: str, cost: OperationCost) -> None:
        costs[name] = cost
        bar.set_postfix_str(name)
        bar.update()

    step("insert of 1,000 predictions", _insert_cost(store, versions))
    step("start of the service", _start_cost(store))
    with service_on(store) as (url, process):
        for name, path in SERVICE_PATHS.items():
            step(name, cost_of(lambda path=path: _get(url + path), REQUESTS, process))  # type: ignore[misc]  # bound now
    step("monitor of a day", _monitor_cost(store, params))
    step("compare", cost_of(lambda: _compare(store), 3))
    step("performance of 28 days", cost_of(lambda: _performance(store, params, PERIOD_DAYS), 3))
    step(
        "performance of a year (the small store has 28 days)",
        cost_of(lambda: _performance(store, params, performance_report.DEFAULT_DAYS)),
    )
    step("backup", cost_of(lambda: backup.make(store.settings, store.path.with_suffix(".backup"))))
    shutil.rmtree(store.path.with_suffix(".backup"))
    store_rows.append_predictions(store.path, store_rows.now_rows(store.path, versions, BUSY_ROWS, MINUTES), BUSY_ROWS)
    with service_on(store) as (url, process):
        step("/v1/ops after 1,000,000 in the hour", cost_of(lambda: _get(f"{url}/v1/ops"), REQUESTS, process))
    return costs


SERVICE_PATHS = {
    "/v1/ops": "/v1/ops",
    "/metrics": "/metrics",
    "/health/ready": "/health/ready",
    "search: no condition": "/v1/entities",
    "search: an hour": "/v1/entities?hour=8",
    "search: an hour without events": "/v1/entities?hour=3",
}


def _get(url: str) -> bytes:
    with urlopen(url) as response:  # noqa: S310  http, on this machine
        return bytes(response.read())


@contextmanager
def service_on(store: MeasuredStore) -> Iterator[tuple[str, psutil.Process]]:
    """The URL and the process of a service on this store."""
    port = free_port()
    with load.running_server(SERVICE_COMMAND, _environment(store, port), port, "/health/ready") as server:
        yield f"http://127.0.0.1:{port}", psutil.Process(server.pid)


SERVICE_COMMAND = (sys.executable, "-m", "serving")


def _environment(store: MeasuredStore, port: int) -> dict[str, str]:
    return {
        "ONTIME_PORT": str(port),
        "ONTIME_DATABASE_URL": store.settings.database_url.get_secret_value(),
        "ONTIME_RELEASES": str(store.settings.releases),
        "ONTIME_SPOOL": str(store.settings.spool),
    }


def _start_cost(store: MeasuredStore) -> OperationCost:
    seconds, cpu_seconds = [], []
    for _ in range(STARTS):
        port = free_port()
        with load.running_server(SERVICE_COMMAND, _environment(store, port), port, "/health/ready") as server:
            seconds.append(server.seconds_to_ready)
            cpu_seconds.append(_cpu_seconds(psutil.Process(server.pid)))
    return OperationCost(statistics.median(seconds), statistics.mean(cpu_seconds))


def _insert_cost(store: MeasuredStore, versions: Versions) -> OperationCost:
    """Insert predictions of the last hour, as the service does; the cost of each batch."""
    engine = database.connect(store.settings.database_url)
    rows = list(store_rows.now_rows(store.path, versions, HOUR_ROWS, MINUTES))
    batches = iter([rows[start : start + BATCH_ROWS] for start in range(0, HOUR_ROWS, BATCH_ROWS)])
    cost = cost_of(lambda: database.log_predictions(engine, next(batches)), HOUR_ROWS // BATCH_ROWS)
    engine.dispose()
    return cost


def _monitor_cost(store: MeasuredStore, params: Params) -> OperationCost:
    """One day, the median of the last days; `make monitor` also looks for missed days."""
    days = iter(_last_days())

    def monitor_next_day() -> None:
        engine = database.connect(store.settings.database_url)
        for day in monitor.days_to_monitor(engine, next(days)):
            monitor.run(store.settings, params, day)

    return cost_of(monitor_next_day, MONITORED_DAYS)


def _last_days() -> list[date]:
    today = local_time.day_of(datetime.now(UTC))
    return [today - timedelta(days=count) for count in range(MONITORED_DAYS, 0, -1)]


def _compare(store: MeasuredStore) -> compare_releases.ReleaseComparison:
    pointer = release_pointer.require_pointer(store.settings.releases)
    assert pointer.challenger is not None  # noqa: S101  make_stores has set it
    champion, challenger = (
        release.verify(store.settings.releases / each) for each in (pointer.version, pointer.challenger.version)
    )
    pairs = performance.paired_predictions(database.connect(store.settings.database_url), champion, challenger)
    return compare_releases.compare_pairs(pairs, pointer)


def _performance(store: MeasuredStore, params: Params, days: int) -> None:
    start = local_time.day_of(datetime.now(UTC)) - timedelta(days=days)
    report = performance_report.measure_performance(
        store.settings, params, days=performance_report.ReportedDays(start=start)
    )
    assert report is not None  # noqa: S101  the store has predictions


def store_report(
    costs: dict[str, dict[str, OperationCost]], megabytes: Mapping[str, float], rows: int, made_seconds: float
) -> dict[str, Any]:
    small, long = costs[SMALL], costs[LONG]
    return {
        "predictions": {SMALL: PERIOD_ROWS, LONG: rows},
        "megabytes": {name: round(size) for name, size in megabytes.items()},
        "made_seconds": round(made_seconds),
        "operations": {
            name: {
                SMALL: _rounded(small[name]),
                LONG: _rounded(long[name]),
                "ratio": round(long[name].seconds / small[name].seconds, 2),
                "cpu_ratio": round(long[name].cpu_seconds / max(small[name].cpu_seconds, 0.001), 2),
            }
            for name in small
        },
        "backup_mb_per_second": round(megabytes[LONG] / long["backup"].seconds),
    }


def _rounded(cost: OperationCost) -> dict[str, float]:
    return {name: float(f"{value:.3g}") for name, value in cost._asdict().items()}


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    rows -= rows % PERIOD_ROWS
    if rows <= PERIOD_ROWS:
        raise SystemExit(f"bench: ROWS={rows} is not more than the {PERIOD_ROWS:,} that it is compared with")
    free = shutil.disk_usage(VAR).free
    if free < rows * BYTES_PER_ROW:
        raise SystemExit(
            f"bench: {rows:,} predictions need {rows * BYTES_PER_ROW / 1e9:.1f} GB in {VAR}/, and {free / 1e9:.1f} GB "
            "are free; make room, or choose fewer: make bench-store ROWS=2000000"
        )
    params = load_params()
    with tempfile.TemporaryDirectory(prefix="bench-store-", dir=VAR.resolve(), ignore_cleanup_errors=True) as name:
        os.environ["SQLITE_TMPDIR"] = name
        start, releases = time.perf_counter(), Path(name) / "releases"
        shutil.copytree(entities.RELEASES, releases)
        versions = store_rows.publish_versions(releases)
        stores = make_stores(Path(name), releases, rows, versions, params)
        made_seconds = time.perf_counter() - start
        megabytes = {each: store.megabytes for each, store in zip((SMALL, LONG), stores, strict=True)}
        with tqdm(desc="bench: measurements", total=2 * (len(SERVICE_PATHS) + 8), disable=None) as bar:
            costs = {
                each: measure_store(store, versions, params, bar)
                for each, store in zip((SMALL, LONG), stores, strict=True)
            }
        report = store_report(costs, megabytes, rows, made_seconds)
    write_json(REPORTS / "bench_store.json", report)
    for operation, cost in report["operations"].items():  # as rows of the table in docs/benchmarks.md
        small, long = cost[SMALL], cost[LONG]
        seconds = f"{small['seconds']} | {long['seconds']} | {cost['ratio']}"
        print(f"| {operation} | {seconds} | {small['cpu_seconds']} | {long['cpu_seconds']} | {cost['cpu_ratio']} |")


if __name__ == "__main__":
    environment.enforce()
    main()
