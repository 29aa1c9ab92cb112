"""Reads the feed as of a moment and validates each day against the contract; broken batches are quarantined.

The feed is data/ingested, which holds the whole dataset: `sources.as_of` hides what is later than the moment. With a
live source, return its tables from `read_feed` instead.
"""

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import NamedTuple

import pandas as pd

from ontime import contract, local_time, partitions, sources
from ontime.availability import Scheduled
from ontime.datasets import Tables
from ontime.params import Params
from ontime.problem.data import DATA
from ontime.schema import ZONE
from pipelines.layout import INGESTED, MonthsMissing, months_recorded, overlapping, read_tables

Feed = Callable[[datetime, datetime], Tables]  # (start, end) -> the tables' rows with a moment in [start, end)
MARGIN = timedelta(days=1)  # for entities at the edges of the period


class Batch(NamedTuple):
    """The rows of one table and one day, which violate the contract."""

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
    """The ingested rows of [start, end). Raises MonthsMissing if no month of it is there."""
    if not overlapping(months_recorded(INGESTED)[DATA.entities], start, end):
        first, last = (f"{moment.astimezone(ZONE):%Y-%m}" for moment in (start, end))
        raise MonthsMissing(
            f"{INGESTED / DATA.entities} has no months from {first} to {last}: run `make train`, or check "
            "ONTIME_WEEKS_BEHIND"
        )
    return read_tables(INGESTED, (start, end))


def arrived_by(moment: datetime, since: datetime, feed: Feed, params: Params) -> Arrived:
    """Everything that features and labels from `since` until `moment` need, as known at `moment`.

    Raises NotDeclared if entities become known only after their prediction moment.
    """
    lead = timedelta(minutes=params.features.lead_minutes)
    _refuse_late_availability(lead)
    # Whole days, so that the contract always validates a complete batch.
    start = local_time.midnight(local_time.day_of(since - lookback(params)))
    # The entities that are predicted at `moment` have their event one lead later.
    end = moment + lead + partitions.AHEAD
    return clean_by_day(sources.as_of(sources.cut(feed(start, end), start, end), moment))


def lookback(params: Params) -> timedelta:
    """How far back events are read: as far as a feature looks, or as long as an outcome takes to become known."""
    return max(timedelta(hours=params.features.halo_hours), timedelta(days=params.monitor.settle_days)) + MARGIN


def _refuse_late_availability(lead: timedelta) -> None:
    availability = next(table.availability for table in DATA.tables if table.name == DATA.entities)
    if isinstance(availability, Scheduled) and availability.ahead < lead:
        raise sources.NotDeclared(
            f"features.lead_minutes predicts {lead} before the event, but problem/data.py declares that a row of "
            f"{DATA.entities} is known {availability.ahead} before it (ahead): lower lead_minutes, or raise ahead"
        )


def clean_by_day(tables: Tables) -> Arrived:
    """The cleaned tables without the days that violate the contract.

    Raises ContractBroken if the rest violates it too, such as a table without days.
    """
    try:
        return Arrived(contract.clean(tables, profiled=False)[0], ())
    except contract.ContractBroken:
        remaining, broken = _without_broken_days(tables)
        return Arrived(contract.clean(remaining, profiled=False)[0], broken)


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
    """The day of each moment, in the problem's time zone."""
    return moments.dt.tz_convert(ZONE).dt.date
