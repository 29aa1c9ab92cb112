"""What has arrived by a moment: the feed as of then, day by day through the contract, broken batches set aside.

The feed is data/ingested: in this project the whole dataset lies there, and `sources.as_of` hides what is ahead of the
clock. Whoever has a live source returns its tables from `near` instead.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import NamedTuple

import pandas as pd

from ontime import contract, local_time, sources
from ontime.availability import Scheduled
from ontime.datasets import Tables
from ontime.params import Params
from ontime.problem.data import DATA
from ontime.schema import ZONE
from pipelines.layout import INGESTED, months_in, read_tables

Feed = Callable[[datetime, datetime], Tables]  # the tables of everything with a moment in [start, end)
MARGIN = timedelta(days=1)  # for entities that are asked about at the edges


class Batch(NamedTuple):
    """One table's rows of one day, which broke the contract."""

    table: str
    day: date
    reasons: tuple[str, ...]
    rows: pd.DataFrame

    @property
    def name(self) -> str:
        return f"{self.day} {self.table}"


class Arrived(NamedTuple):
    tables: Tables
    broken: tuple[Batch, ...]


def read_feed(start: datetime, end: datetime) -> Tables:
    """The ingested months that [start, end) touches. Raises FileNotFoundError where there is none."""
    first, last = (moment.astimezone(ZONE).strftime("%Y-%m") for moment in (start, end))
    folder = INGESTED / DATA.entities
    months = [month for month in months_in(folder) if first <= month <= last]
    if not months:
        raise FileNotFoundError(f"{folder} has nothing from {first} to {last}: is the feed's clock right?")
    return read_tables(INGESTED, months)


def arrived_by(moment: datetime, since: datetime, feed: Feed, params: Params) -> Arrived:
    """All that features and labels from `since` until `moment` need, as it was known at `moment`.

    Raises NotDeclared where an entity is planned so late that nothing is known of it at its prediction moment.
    """
    lead = timedelta(minutes=params.features.lead_minutes)
    _refuse_late_availability(lead)
    # Of a day that was cut in two, half of a broken batch would be judged again.
    start = local_time.midnight(local_time.day_of(since - lookback(params)))
    # Those that are asked about now have their event a lead from now.
    end = moment + lead + 2 * MARGIN
    return clean_by_day(sources.as_of(sources.cut(feed(start, end), start, end), moment))


def lookback(params: Params) -> timedelta:
    """How long before a moment an event may lie of which something is still looked at: a feature, or its outcome."""
    return max(timedelta(hours=params.features.halo_hours), timedelta(days=params.monitor.settle_days)) + MARGIN


def _refuse_late_availability(lead: timedelta) -> None:
    availability = next(table.known for table in DATA.tables if table.name == DATA.entities)
    if isinstance(availability, Scheduled) and availability.ahead < lead:
        raise sources.NotDeclared(
            f"features.lead_minutes asks {lead} before the event, but problem/data.py declares that a row of "
            f"{DATA.entities} is known {availability.ahead} before (ahead): ask later, or declare how early it is known"
        )


def clean_by_day(tables: Tables) -> Arrived:
    """The tables after the contract, without the days that break it. Raises ContractBroken if that does not help."""
    try:
        return Arrived(contract.clean(tables)[0], ())
    except contract.ContractBroken:
        remaining, broken = _without_broken_days(tables)
        return Arrived(contract.clean(remaining)[0], broken)


def _without_broken_days(tables: Tables) -> tuple[Tables, tuple[Batch, ...]]:
    broken = [
        Batch(table.name, day, reasons, rows)
        for table in DATA.long
        for day, rows in tables[table.name].groupby(_day(tables[table.name][table.moment]))
        if (reasons := contract.violations_of_day(tables, table.name, rows))
    ]
    remaining = dict(tables)
    for batch in broken:
        remaining[batch.table] = remaining[batch.table].drop(index=batch.rows.index)
    return remaining, tuple(broken)


def _day(moments: pd.Series) -> pd.Series:
    """The problem's calendar."""
    return moments.dt.tz_convert(ZONE).dt.date
