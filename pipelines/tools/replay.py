"""A year in production, faster than real time: the whole loop on a simulated clock, through the real service.

    ontime replay                      the whole dataset except its first three months, which train the first model
    ontime replay --months 2           only two months
    ontime replay --from 2013-06-01 --until 2013-07-01
    ontime replay --dataset another    trains on the dataset of params.yaml, replays another one
    ontime replay --stream             the feed's events go through a broker, and `ontime stream` predicts

For each day: features are materialised as of each entity's moment, the service scores every entity over HTTP,
outcomes are stored once they are known, the monitor runs, and the policy's decision is carried out. No step sees data
from after the simulated clock: `arrivals` hides them, and a test verifies it by changing the future.
Everything is in var/replay/, which is emptied first. If ONTIME_DATABASE_URL names PostgreSQL, the database is a schema
`replay` there, also emptied first. The results are reports/replay.json and reports/replay.html, for another dataset
reports/replay_<dataset>.*; the name of a partial replay says which part.
"""

import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from monitoring.policy import Action, Decision
from ontime import contract, locks, model, release_pointer, sources
from ontime.datasets import SourceBroken, Tables
from ontime.params import Params, load_params
from ontime.problem.data import DATA
from ontime.progress import ProgressBar, progress_bar
from ontime.settings import Settings, load_settings
from pipelines.engines import local
from pipelines.operations import monitor, retrain
from pipelines.tools import local_service, replay_numbers, replay_report
from pipelines.tools.simulated_production import SimulatedProduction, empty_schema, settings_in
from pipelines.tools.streamed_production import StreamedProduction, streamed_production

FOLDER = Path("var/replay")
FIRST_MONTHS = 3  # train the first model


def first_model(settings: Settings, params: Params, start: date) -> None:
    """Train on all data known before the replay starts. Raises NotRetrained."""
    print(f"replay: training the first model on the data known before {start}", flush=True)
    print(retrain.run(settings, params, start - timedelta(days=1)), flush=True)
    if release_pointer.read_pointer(settings.releases) is None:
        sys.exit("replay: the gate rejected the first model, so there is no release to replay with")
    # Not part of a release; the report compares with it.
    shutil.copy(settings.workspace / "models" / "rate_table.joblib", settings.releases.parent / "rate_table.joblib")


def monitor_process() -> ProcessPoolExecutor:
    """A process for the monitor; it imports Evidently first, which takes seconds."""
    # Not a fork, which would share connections, and locks that threads hold.
    process = ProcessPoolExecutor(1, get_context("spawn"), initializer=local.end_with_parent)
    process.submit(import_module, "monitoring.drift")
    return process


def run(
    settings: Settings,
    params: Params,
    tables: Tables,
    start: date,
    until: date,
    monitor_pool: ProcessPoolExecutor,
    *,
    stream: bool = False,
) -> None:
    """Replay the days from `start` until `until`, exclusive, with a service that runs for that time.

    `stream`: instead, with a broker and `ontime stream`, which does what materialisation and service do.

    In production, monitor and materialisation are separate flows. So here: `monitor_pool` monitors a day while the
    next one is materialised. The monitor sees nothing of that day, and its decision is carried out before any request.
    """
    days = [start + timedelta(days=count) for count in range((until - start).days)]
    with (
        _production(settings, params, tables, start, stream=stream) as production,
        progress_bar(days, desc="replay", unit="days") as progress,
    ):
        production.materialise(start)
        for day in progress:
            production.predict(day)
            decision = monitor_pool.submit(monitor.run, settings, params, day)
            if day != days[-1]:
                production.materialise(day + timedelta(days=1))
            retrain_if_decided(settings, params, day, decision.result(), progress)


@contextmanager
def _production(
    settings: Settings, params: Params, tables: Tables, start: date, *, stream: bool
) -> Iterator[SimulatedProduction | StreamedProduction]:
    if stream:
        with streamed_production(settings, params, tables, start) as streamed:
            yield streamed
    else:
        with local_service.running_service(settings) as service:
            yield SimulatedProduction(settings, params, tables, service)


def retrain_if_decided(
    settings: Settings, params: Params, day: date, decision: Decision, progress: "ProgressBar[date]"
) -> None:
    """Print the decision, and retrain if that is the decision; `monitor.run` has carried out all others."""
    if decision.action is not Action.NOTHING:
        progress.write(f"{day} {decision.action}: {decision.reason}", file=sys.stdout)
    if decision.action is Action.RETRAIN:
        progress.set_postfix_str("retraining")
        progress.write(retrain.run(settings, params, day).splitlines()[-1], file=sys.stdout)
        progress.set_postfix_str("")


def contract_violations(dataset: str) -> list[str]:
    """The contract's errors for a dataset before its adapter; none without an adapter.

    Raises ValueError if the dataset fulfils the contract without its adapter.
    """
    unadapted = sources.dataset(dataset).unadapted
    if unadapted is None:
        return []
    try:
        contract.clean(unadapted())
    except contract.ContractBroken as broken:
        return [line.strip() for line in str(broken).splitlines()[1:]]
    raise ValueError(f"dataset {dataset} fulfils the contract without its adapter: remove the adapter")


class ReplayedDays(NamedTuple):
    """The days from `start` until `until`, exclusive, are replayed; data before `train_until` train the first model."""

    dataset: str
    train_until: date
    start: date
    until: date
    name: str  # of the report


def replayed_days(
    params: Params,
    months: int | None = None,
    start: date | None = None,
    until: date | None = None,
    dataset: str | None = None,
    *,
    stream: bool = False,
) -> ReplayedDays:
    """Exits if the dataset is unknown, or the days are not in it."""
    own, name = sources.dataset(params.dataset), dataset or params.dataset
    if name not in DATA.datasets:
        sys.exit(f"replay: dataset {name} is unknown; problem/data.py declares {', '.join(sorted(DATA.datasets))}")
    replayed, is_other = sources.dataset(name), name != params.dataset
    end = replayed.last_day + timedelta(days=1)
    first = replayed.first_day if is_other else _months_after(own.first_day, FIRST_MONTHS)
    start = start or first
    until = until or (_months_after(start, months) if months else end)
    if not replayed.first_day <= start < until <= end:
        sys.exit(f"replay: {start} until {until} is not within {name}, {replayed.first_day} to {replayed.last_day}")
    report = f"replay_{name}" if is_other else "replay"
    if (start, until) != (first, end):
        report += f"_{start}_{until}"  # does not overwrite the committed report of the whole dataset
    if stream:
        report += "_stream"
    return ReplayedDays(name, own.last_day + timedelta(days=1) if is_other else start, start, until, report)


def refuse_without_baseline(params: Params) -> None:
    """Exits if retrainings do not fit the model that the report compares with."""
    if model.BASELINE not in params.retrain.candidates:
        candidates = ", ".join(params.retrain.candidates)
        sys.exit(
            f"replay: retrain.candidates in params.yaml lists {candidates}, without {model.BASELINE}, which the report "
            "compares with: add it"
        )


def _months_after(day: date, months: int) -> date:
    return (pd.Timestamp(day) + pd.DateOffset(months=months)).date()


def main(
    months: int | None = None,
    start: date | None = None,
    until: date | None = None,
    dataset: str | None = None,
    *,
    stream: bool = False,
) -> None:
    """By default the whole dataset of params.yaml except its first three months, which train the first model."""
    try:
        with locks.hold(FOLDER.with_suffix(".lock"), "make replay"):
            params = load_params()
            replay(params, replayed_days(params, months, start, until, dataset, stream=stream), stream=stream)
    except (locks.Busy, SourceBroken) as error:
        sys.exit(f"replay: {error}")


def replay(params: Params, days: ReplayedDays, *, stream: bool = False) -> None:
    started = time.monotonic()
    refuse_without_baseline(params)
    violations = contract_violations(days.dataset) if days.dataset != params.dataset else []
    for line in violations:
        print(f"contract: {line}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    settings = settings_in(FOLDER, empty_schema(load_settings().database_url.get_secret_value()))
    with monitor_process() as monitor_pool, ThreadPoolExecutor(1) as reader:
        reading = reader.submit(sources.read, days.dataset)
        first_model(settings, params, days.train_until)
        params, tables = params.model_copy(update={"dataset": days.dataset}), reading.result()
        run(settings, params, tables, days.start, days.until, monitor_pool, stream=stream)
    numbers = replay_numbers.write_numbers(settings, params, tables, days.start, days.until, days.name, violations)
    page = replay_report.write_page(numbers)
    print(f"replay: {page} in {(time.monotonic() - started) / 60:.1f} minutes")
