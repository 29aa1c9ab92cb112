"""Another future: the same history up to a moment, and something else in everything that is known later.

What is known ahead is written here once more, by hand, so that a mistake in `ontime.problem.data` fails a test.
"""

from datetime import datetime, timedelta

import pandas as pd

from ontime.datasets import Tables

TIMETABLE = {
    "entity_id", "carrier", "flight_number", "tailnum", "origin", "dest", "distance_miles",
    "scheduled_departure", "scheduled_arrival", "sched_dep_hhmm", "sched_arr_hhmm",
}  # fmt: skip
DEPARTURE = ("departed_at", "dep_delay_minutes", "dep_hhmm")
OBSERVATION = {"origin", "hour", "known_at"}  # where and when it was made
DAY = timedelta(days=1)


def with_another_future(tables: Tables, moment: datetime) -> Tables:
    """Tables in which nothing that is known after `moment` is as it was, and nothing else differs.

    Flights leave ten hours later, cancelled ones leave after all, every second of the others is cancelled. The
    timetable beyond a day ahead, and the rows of any table with `known_at`, are other ones, and half as many.
    """
    observed = {name: _observed(table, moment) for name, table in tables.items() if "known_at" in table}
    return {**tables, "flights": _flights(tables["flights"], moment), **observed}


def _flights(flights: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    changed = flights.copy()
    second = pd.Series(range(len(flights)), index=flights.index) % 2 == 0
    final = flights["arrived_at"].isna() & (flights["scheduled_arrival"] <= moment - DAY)
    leaves, lands = (~(flights[name] <= moment) & ~final for name in ("departed_at", "arrived_at"))
    for name in flights.columns.difference([*TIMETABLE]):
        changed[name] = _other(changed[name], leaves if name in DEPARTURE else lands)
    changed.loc[leaves, "departed_at"] = moment + timedelta(minutes=601)
    changed.loc[lands, "arrived_at"] = moment + timedelta(minutes=602)
    changed.loc[leaves & second, list(DEPARTURE)] = None
    diverted = lands & second & (flights["scheduled_arrival"] > moment - DAY)  # or it would be final at the moment
    for name in flights.columns.difference([*TIMETABLE, *DEPARTURE]):
        changed[name] = changed[name].mask(diverted)
    unplanned = flights["scheduled_departure"] >= moment + DAY
    changed.loc[unplanned, ["carrier", "tailnum", "dest"]] = "??"
    return changed[~(unplanned & second)]


def _observed(table: pd.DataFrame, moment: datetime) -> pd.DataFrame:
    unseen = table["known_at"] > moment
    changed = table.copy()
    for name in table.columns.difference([*OBSERVATION]):
        changed[name] = _other(changed[name], unseen)
    second = pd.Series(range(len(table)), index=table.index) % 2 == 0
    return changed[~(unseen & second)]


def _other(values: pd.Series, rows: pd.Series) -> pd.Series:
    """Other values of the same kind in these rows, none of them missing."""
    if pd.api.types.is_bool_dtype(values):
        return values.mask(rows, ~values)
    if pd.api.types.is_numeric_dtype(values):
        return values.mask(rows, values.fillna(0) * -3 + 777)
    if pd.api.types.is_datetime64_any_dtype(values):
        return values.mask(rows, values + timedelta(minutes=602))
    return values.mask(rows, "??")
