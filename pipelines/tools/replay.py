"""A year in production, faster than real time: the whole loop on a simulated clock, through the real service.

    python -m pipelines.tools.replay                      the whole dataset except its first three months, which
                                                          train the first model
    python -m pipelines.tools.replay --months 2           only two months
    python -m pipelines.tools.replay --from 2013-06-01 --until 2013-07-01
    python -m pipelines.tools.replay --dataset another    the last model of the own dataset on another dataset

For each day: features are materialised as of each entity's moment, the service scores every entity over HTTP,
outcomes are stored once they are known, the monitor runs, and the policy's decision is carried out. Nothing here sees
data from after the simulated clock: `arrivals` hides them, and a test changes the future to prove it.
Everything is in var/replay/, which is emptied first. If ONTIME_DATABASE_URL names PostgreSQL, the database is a schema
`replay` there, also emptied first. The results are reports/replay.json and reports/replay.html, for another dataset
reports/replay_<dataset>.*; the name of a partial replay says which part.
"""

import argparse
import os
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import date, datetime, timedelta
from importlib import import_module
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa
from tqdm import tqdm

from monitoring.policy import Action, Decision
from ontime import contract, database, environment, locks, model, online_store, release_pointer, sources
from ontime.datasets import SourceBroken, Tables
from ontime.local_time import midnight
from ontime.params import Params, load_params
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from ontime.settings import Settings, load_settings
from pipelines.operations import materialise, monitor, retrain
from pipelines.tools import local_service, replay_report

FOLDER = Path("var/replay")
SCHEMA = "replay"
LIST_ENTITIES = 1000  # of one request: the most that the service takes
WAIT_SECONDS = 60
FIRST_MONTHS = 3  # the first model is made of these


def settings_in(folder: Path, database_url: str | None = None) -> Settings:
    """A production of its own, which shares nothing with the one in var/."""
    return Settings(
        releases=folder / "releases",
        database_url=database_url or f"sqlite:///{folder}/ontime.db",
        tracking_url=f"sqlite:///{folder}/mlflow.db",
        artifacts=folder / "mlflow-artifacts",
        workspace=folder / "retraining",
        evidently=folder / "evidently",
        quarantine=folder / "quarantine",
        spool=folder / "spool",
    )


def empty_schema(database_url: str) -> str | None:
    """The address of a schema for the replay alone, made anew; None for SQLite, where a file of its own will do."""
    url = sa.make_url(database_url)
    if url.get_backend_name() == "sqlite":
        return None
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(SCHEMA, cascade=True, if_exists=True))
        connection.execute(sa.schema.CreateSchema(SCHEMA))
    engine.dispose()
    return url.update_query_dict({"options": f"-csearch_path={SCHEMA}"}).render_as_string(hide_password=False)


class World:
    """The raw tables, the clock, and the service that is asked."""

    def __init__(self, settings: Settings, params: Params, tables: Tables, asked: "local_service.Service") -> None:
        self.settings, self.params, self.service = settings, params, asked
        self.engine = database.connect(settings.database_url)
        self._tables = tables
        self._pointer: release_pointer.Pointer | None = None

    def feed(self, start: datetime, end: datetime) -> Tables:
        return sources.cut(self._tables, start, end)

    def materialise(self, day: date) -> None:
        """The features of a whole day's prediction moments, and the outcomes that come during it."""
        materialise.run(self.settings, self.params, midnight(day + timedelta(days=1)), self.feed)

    def ask(self, day: date) -> None:
        """Ask the service for the entities whose prediction moment lies in the day, and wait for the shadows."""
        self._wait_for_pointer()
        begin, end = midnight(day), midnight(day + timedelta(days=1))
        lead = timedelta(minutes=self.params.features.lead_minutes)
        entities = online_store.entities_between(self.engine, begin + lead, end + lead)
        newest = database.newest_prediction(self.engine)
        for first in range(0, len(entities), LIST_ENTITIES):
            self.service.post("/v1/predictions", [_request(each) for each in entities[first : first + LIST_ENTITIES]])
        if self._pointer is not None and self._pointer.challenger is not None:
            _wait(lambda: database.count_shadows(self.engine, newest) >= len(entities), "every entity's shadow")

    def _wait_for_pointer(self) -> None:
        """Until the service answers with what the pointer names."""
        pointer = release_pointer.read_pointer(self.settings.releases)
        if pointer == self._pointer or pointer is None:
            return
        wanted = (pointer.version, pointer.challenger.version if pointer.challenger else None)
        _wait(lambda: _answering(self.service.get("/v1/ops")) == wanted, f"release {pointer.version} to answer")
        self._pointer = pointer


def _answering(told: dict[str, Any]) -> tuple[str, str | None]:
    return told["answering"], told["challenger"]["version"] if told["challenger"] else None


def _request(entity: sa.Row[Any]) -> dict[str, Any]:
    told = {name: entity._mapping[name] for name in PROBLEM.request.model_fields}
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in told.items()}


def _wait(what: Any, words: str) -> None:
    for _ in range(WAIT_SECONDS * 50):
        if what():
            return
        time.sleep(0.02)
    raise TimeoutError(f"replay: waited {WAIT_SECONDS} s for {words}")


def first_model(settings: Settings, params: Params, start: date) -> None:
    """Train on all that was known before the replay begins. Raises NotRetrained."""
    print(f"replay: the first model, of all that was known before {start}", flush=True)
    print(retrain.run(settings, params, start - timedelta(days=1)), flush=True)
    if release_pointer.read_pointer(settings.releases) is None:
        sys.exit("replay: without a first model there is nothing to live through")
    # The rate table is not served; the report compares with it.
    shutil.copy(settings.workspace / "models" / "rate_table.joblib", settings.releases.parent / "rate_table.joblib")


def end_with_parent() -> None:
    """A worker waits for work for ever, also when the process that would send it was killed."""
    parent = parent_process()
    if parent is not None:
        Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def process_beside() -> ProcessPoolExecutor:
    """A process for the monitor, which begins with the seconds that importing Evidently takes."""
    # Spawned: a fork would share the threads' locks and the connections.
    beside = ProcessPoolExecutor(1, get_context("spawn"), initializer=end_with_parent)
    beside.submit(import_module, "monitoring.drift")
    return beside


def run(
    settings: Settings, params: Params, tables: Tables, start: date, until: date, beside: ProcessPoolExecutor
) -> None:
    """Live through the days from `start` until `until`, with a service that is started for it.

    As in life, where they are flows of their own, the monitor looks at a day, `beside`, while the next one is
    materialised. It sees nothing of that, and nothing is asked before its decision is carried out.
    """
    days = [start + timedelta(days=count) for count in range((until - start).days)]
    with local_service.running(settings) as asked, tqdm(days, desc="replay", unit="day", disable=None) as progress:
        world = World(settings, params, tables, asked)
        world.materialise(start)
        for day in progress:
            world.ask(day)
            looked_at = beside.submit(monitor.run, settings, params, day)
            if day != days[-1]:
                world.materialise(day + timedelta(days=1))
            follow(settings, params, day, looked_at.result(), progress)


def follow(settings: Settings, params: Params, day: date, decision: Decision, progress: "tqdm[date]") -> None:
    """Say what was decided, and retrain if it was that; the monitor has done everything else."""
    if decision.action is not Action.NOTHING:
        progress.write(f"{day} {decision.action}: {decision.reason}", file=sys.stdout)
    if decision.action is Action.RETRAIN:
        progress.set_postfix_str("retraining")
        progress.write(retrain.run(settings, params, day).splitlines()[-1], file=sys.stdout)
        progress.set_postfix_str("")


def refusals(dataset: str) -> list[str]:
    """What the contract says of a dataset as it is published, where it has an adapter. Raises ValueError if nothing."""
    published = sources.dataset(dataset).unadapted
    if published is None:
        return []
    try:
        contract.clean(published())
    except contract.ContractBroken as broken:
        return [line.strip() for line in str(broken).splitlines()[1:]]
    raise ValueError(f"dataset {dataset} as it is published holds the contract: it needs no adapter")


class Span(NamedTuple):
    """What is replayed: the first model knows all before `born`; the days lived through are from `start` to `until`."""

    dataset: str
    born: date
    start: date
    until: date
    name: str  # of the report


def span(words: argparse.Namespace, params: Params) -> Span:
    """Exits for days that lie outside of the dataset."""
    own, dataset = sources.dataset(params.dataset), words.dataset or params.dataset
    lived, second_act = sources.dataset(dataset), dataset != params.dataset
    end = lived.last_day + timedelta(days=1)
    first = lived.first_day if second_act else _months_after(own.first_day, FIRST_MONTHS)
    start = words.start or first
    until = words.until or (_months_after(start, words.months) if words.months else end)
    if not lived.first_day <= start < until <= end:
        sys.exit(f"replay: {start} until {until} is not within {dataset}, {lived.first_day} to {lived.last_day}")
    name = f"replay_{dataset}" if second_act else "replay"
    if (start, until) != (first, end):
        name += f"_{start}_{until}"  # beside the whole, which git keeps
    return Span(dataset, own.last_day + timedelta(days=1) if second_act else start, start, until, name)


def refuse_without_baseline(params: Params) -> None:
    """Exit where no retraining fits the model that the report compares with."""
    if model.BASELINE not in params.retrain.candidates:
        listed = ", ".join(params.retrain.candidates)
        sys.exit(
            f"replay: retrain.candidates in params.yaml lists {listed}, without {model.BASELINE}, which the report "
            "compares with: add it"
        )


def _months_after(day: date, months: int) -> date:
    return (pd.Timestamp(day) + pd.DateOffset(months=months)).date()


def main() -> None:
    try:
        with locks.hold(FOLDER.with_suffix(".lock"), "make replay"):
            replay()
    except (locks.Busy, SourceBroken) as refused:
        sys.exit(f"replay: {refused}")


def replay() -> None:
    asked = argparse.ArgumentParser(prog="replay")
    asked.add_argument("--months", type=int, choices=range(1, 13), metavar="1 to 12")
    asked.add_argument("--from", dest="start", type=date.fromisoformat, metavar="2013-06-01")
    asked.add_argument("--until", type=date.fromisoformat, metavar="2013-07-01", help="exclusive")
    asked.add_argument("--dataset", choices=sorted(DATA.datasets))
    params, began = load_params(), time.monotonic()
    lived = span(asked.parse_args(), params)
    refuse_without_baseline(params)
    refused = refusals(lived.dataset) if lived.dataset != params.dataset else []
    for line in refused:
        print(f"contract: {line}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    settings = settings_in(FOLDER, empty_schema(load_settings().database_url.get_secret_value()))
    with process_beside() as beside, ThreadPoolExecutor(1) as reader:
        reading = reader.submit(sources.read, lived.dataset)
        first_model(settings, params, lived.born)
        params, tables = params.model_copy(update={"dataset": lived.dataset}), reading.result()
        run(settings, params, tables, lived.start, lived.until, beside)
    page = replay_report.write(settings, params, tables, lived.start, lived.until, lived.name, refused)
    print(f"replay: {page} in {(time.monotonic() - began) / 60:.1f} minutes")


if __name__ == "__main__":
    environment.enforce()
    main()
