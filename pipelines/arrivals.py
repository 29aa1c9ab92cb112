"""What has arrived by a moment: the feed as of then, day by day through the contract, broken batches set aside.

The feed is data/ingested: in this project the whole year lies there, and `sources.as_of` hides what is ahead of the
clock. Whoever has a live source returns its tables from `near` instead.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

import pandas as pd

from ontime import contract, schema, sources
from ontime.online import NEW_YORK
from ontime.params import FeatureParams
from ontime.sources import Tables
from pipelines.layout import INGESTED, months_in, read_months

Feed = Callable[[datetime, datetime], Tables]  # the tables of everything scheduled or observed in [start, end)
MARGIN = timedelta(days=1)  # for flights that are asked about at the edges


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


def near(start: datetime, end: datetime) -> Tables:
    """The ingested months that [start, end) touches. Raises FileNotFoundError where there is none."""
    first, last = (moment.astimezone(NEW_YORK).strftime("%Y-%m") for moment in (start, end))

    def months(table: str) -> list[str]:
        return [month for month in months_in(INGESTED / table) if first <= month <= last]

    if not months("flights"):
        raise FileNotFoundError(
            f"{INGESTED / 'flights'} has nothing from {first} to {last}: is the feed's clock right?"
        )
    small = {name: pd.read_parquet(INGESTED / f"{name}.parquet") for name in ("planes", "airports", "airlines")}
    return Tables(
        flights=read_months(INGESTED / "flights", months("flights")),
        weather=read_months(INGESTED / "weather", months("weather")),
        **small,
    )


def cut(tables: Tables, start: datetime, end: datetime) -> Tables:
    """The flights scheduled and the hours observed in [start, end)."""
    leaves, hour = tables.flights["scheduled_departure"], tables.weather["hour"]
    return replace(
        tables,
        flights=tables.flights[(leaves >= start) & (leaves < end)],
        weather=tables.weather[(hour >= start) & (hour < end)],
    )


def by(moment: datetime, since: datetime, feed: Feed, params: FeatureParams) -> Arrived:
    """All that features and labels from `since` until `moment` need, as it was known at `moment`."""
    start, end = _midnight_before(since - timedelta(hours=params.halo_hours) - MARGIN), moment + 2 * MARGIN
    return accept(sources.as_of(cut(feed(start, end), start, end), moment))


def _midnight_before(moment: datetime) -> datetime:
    """In New York: of a day that was cut in two, a broken batch would be judged anew, on half of its rows."""
    return datetime.combine(moment.astimezone(NEW_YORK).date(), time(), NEW_YORK).astimezone(UTC)


def accept(tables: Tables) -> Arrived:
    """The tables after the contract, without the days that break it. Raises ContractBroken if that does not help."""
    try:
        return Arrived(contract.clean(tables)[0], ())
    except contract.ContractBroken:
        kept, broken = _without_broken_days(tables)
        return Arrived(contract.clean(kept)[0], broken)


def _without_broken_days(tables: Tables) -> tuple[Tables, tuple[Batch, ...]]:
    broken = [
        Batch(name, day, reasons, rows)
        for name, moments in (("flights", "scheduled_departure"), ("weather", "hour"))
        for day, rows in getattr(tables, name).groupby(_day(getattr(tables, name)[moments]))
        if (reasons := contract.violations_of_day(tables, name, rows))
    ]
    kept = {
        name: getattr(tables, name).drop(
            index=[row for batch in broken if batch.table == name for row in batch.rows.index]
        )
        for name in ("flights", "weather")
    }
    return replace(tables, **kept), tuple(broken)


def _day(moments: pd.Series) -> pd.Series:
    """New York's calendar."""
    return moments.dt.tz_convert(schema.CLOCK).dt.date
