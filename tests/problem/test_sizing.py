"""docs/sizing.md: what a unit costs is what the benches measured, and the examples are what its formulas give."""

import json
from typing import Any

import pytest

from ontime.params import load_params
from tests import ROOT

PAGE = (ROOT / "docs/sizing.md").read_text()


def report(name: str) -> Any:
    return json.loads((ROOT / f"reports/bench_{name}.json").read_text())


SERVICE = report("serving")["servers"]
ONE, SIXTEEN, BUSY = (SERVICE["ontime"]["by_connections"][each] for each in ("1", "16", "64"))
POSTGRESQL = SERVICE["postgresql"]["by_connections"]["64"]
LISTS = report("serving")["lists"]
FILE_ROW = {features: round(1e6 / rate) for features, rate in report("batch")["rows_per_cpu_second"].items()}
FILE_MB = {run["rows"]: run["peak_mb"] for run in report("batch")["runs"] if run["features"] == "online store"}
STREAM = report("stream")["capacity"]
STREAMED = round(1e6 / STREAM["per_cpu_second"])
GROWTH = report("scale")["growth"]["copies"]
(IN_8_GB,) = (each["million_rows"] for each in report("scale")["largest_training"] if each["gb"] == 8)
AFTER_SOAK = round(report("soak")["drift"]["rss_mb"]["last_tenth"])
LARGEST_STAGE = report("train")["stages"]["all stages"]["peak_mb"]
STORE = report("store")
STORED_GB, BACKUP = STORE["megabytes"]["long"] / 1e3, STORE["operations"]["backup"]["long"]
STORED_BYTES = round(STORED_GB * 1e9 / STORE["predictions"]["long"])
DAYS = load_params().retention.predictions_days

ROWS = [
    f"| a prediction by request, 1 connection | {ONE['cpu_us']} | `make bench-serve` |",
    f"| the same, 16 connections | {SIXTEEN['cpu_us']} | `make bench-serve` |",
    f"| the same, 64 connections | {BUSY['cpu_us']} | `make bench-serve` |",
    f"| the same with PostgreSQL, 64 connections | {POSTGRESQL['cpu_us']}, and {POSTGRESQL['other_cpu_us']} in the "
    "database | `make bench-serve` |",
    f"| an entity in lists of 100 | {LISTS['100']['cpu_us']} | `make bench-serve` |",
    f"| a row of a file, features from the online store | {FILE_ROW['online store']} | `make bench-batch` |",
    f"| a row of a file, from the request alone | {FILE_ROW['request only']} | `make bench-batch` |",
    f"| a prediction from a stream, with its events and features | {STREAMED} | `make bench-stream` |",
    f"| a further row to build features for | {GROWTH['features']['cpu_microseconds_per_row']} | `make bench-scale` |",
    f"| a further row to train on | {GROWTH['train']['cpu_microseconds_per_row']} | `make bench-scale` |",
    f"| the service, each worker, after the start | {SERVICE['ontime']['memory_mb']} | `make bench-serve` |",
    f"| the same, after a million requests of every kind | {AFTER_SOAK} | `make bench-soak` |",
    f"| `ontime score`, a million rows | {FILE_MB[1_000_000]:.0f} | `make bench-batch` |",
    f"| `ontime stream` | {STREAM['memory_mb']} | `make bench-stream` |",
    f"| `make train`, its largest stage | {LARGEST_STAGE} | `make bench-train` |",
    f"| a prediction in the database, with its input, its features and indexes | {STORED_BYTES} bytes | "
    "`make bench-store` |",
    f"| CPU of the service, at {ONE['cpu_us']} µs | {ONE['cpu_us'] / 3600:.2f} vCPU hours | 0.04048 | 0.01 |",
    f"| database, a month of storage | {STORED_BYTES / 1e3:.2f} GB | 0.115 | 0.07 |",
]
SENTENCES = [
    f"500 x {ONE['cpu_us']} / 1,000,000 / 0.5 = {500 * ONE['cpu_us'] / 1e6 / 0.5:.2f} cores",
    f"10,000,000 x {FILE_ROW['online store']} / 1,000,000 = {10 * FILE_ROW['online store']} seconds",
    f"100 x {STREAMED} / 1,000,000 / 0.5 = {100 * STREAMED / 1e6 / 0.5:.2f} cores",
    f"made {STREAM['per_second']:,} predictions from {STREAM['events_per_second']:,} events per second",
    f"reached {BUSY['requests_per_second']:,} requests per second with 64 connections",
    f"workers x {AFTER_SOAK} MB",
    f"{LARGEST_STAGE} MB + {GROWTH['train']['bytes_per_row']} bytes x rows beyond 217,727",
    f"{IN_8_GB} million rows of the training period fit into 8 GB",
    f"100,000 x {STORED_BYTES} x {DAYS} = {1e5 * STORED_BYTES * DAYS / 1e9:.0f} GB",
    f"{STORED_GB:.2f} GB took {BACKUP['seconds']:.0f} seconds",
    f"carry {0.5 * 1e6 / ONE['cpu_us']:.0f} requests per second",
]


@pytest.mark.parametrize("row", ROWS)
def test_each_row_is_what_was_measured(row: str) -> None:
    assert row in PAGE.splitlines()


@pytest.mark.parametrize("words", SENTENCES)
def test_each_example_is_what_its_formula_gives(words: str) -> None:
    assert words in " ".join(PAGE.split())
