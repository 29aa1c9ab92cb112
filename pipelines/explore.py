"""A look at the data before any model: data/validated/ -> reports/eda.md and reports/eda/*.png."""

from pathlib import Path

import pandas as pd

from ontime import exploration, files, plots
from ontime.params import load_params
from ontime.sources import month_of
from pipelines.layout import EDA, REPORTS, VALIDATED, read_tables, replacing_folder

DRIFT_OF_FLIGHTS = ["dep_delay_minutes", "arr_delay_minutes", "distance_miles", "hour", "carrier", "origin", "dest"]
DRIFT_OF_WEATHER = ["temp_f", "wind_speed_mph", "visib_miles", "pressure_mb"]


def by_month(flights: pd.DataFrame) -> pd.DataFrame:
    """Flights, cancelled, without arrival and late of each month."""
    cancelled = flights["departed_at"].isna()
    counted = flights.assign(cancelled=cancelled, lost=flights["late"].isna() & ~cancelled)
    return counted.groupby("month").agg(
        flights=("flight_id", "size"), cancelled=("cancelled", "sum"), lost=("lost", "sum"), late=("late", "mean")
    )


def report(months: pd.DataFrame, hours: pd.Series, drift: pd.DataFrame, late_minutes: int) -> str:
    """The page around the pictures, with the numbers that they show."""
    late = months["late"]
    first, last = hours.loc[6], hours.loc[6:21].max()
    steady = drift.loc["temp_f"].iloc[exploration.REFERENCE_MONTHS :]
    lines = [
        f"| {row.Index} | {row.flights:,} | {row.cancelled:,} | {row.lost:,} | {row.late:.1%} |"
        for row in months.itertuples()
    ]
    table = "\n".join(
        ["| month | flights | cancelled | no arrival time | late |", "| --- | --- | --- | --- | --- |", *lines]
    )
    return f"""# The data before any model

Made by the `explore` stage. Late means arriving {late_minutes} minutes late or more; cancelled
flights and those without an arrival time have no label, and are counted here.

{table}

## The season

{late.idxmax()} has {late.max():.1%} late flights, {late.idxmin()} {late.min():.1%}. So a model is validated and tested
on months after those it learned from, and its loss is never compared across months.

![Share late by month](eda/late_by_month.png)

## The day

Of the flights at six in the morning {first:.1%} are late, at the worst hour {last:.1%}: delays are inherited from
flight to flight, which is why operations known at the moment carry most of the signal.

![Share late by hour](eda/late_by_hour.png)
![Share late by hour and weekday](eda/late_by_hour_and_weekday.png)

## What is missing

Actual times are missing for flights that never left or never arrived, gusts when there was none.

![Share of nulls](eda/missing.png)

## What drifts

Temperature moves by {steady.min():.1f} to {steady.max():.1f} against January to March while the timetable stands still.
An alarm on every feature would ring all summer, so seasonal drift is reported and never acted upon by itself.

![Population stability index by month](eda/drift.png)
"""


def draw(flights: pd.DataFrame, missing: pd.Series, drift: pd.DataFrame, folder: Path) -> None:
    labelled = flights.groupby("hour")["late"]
    hours = labelled.mean()[labelled.count() >= 100]
    months, overall = flights.groupby("month")["late"].mean(), float(flights["late"].mean())
    clock = "hour of scheduled departure (New York)"
    plots.save(plots.late_rate(months, overall, "Late flights by month", "month"), folder / "late_by_month.png")
    plots.save(plots.late_rate(hours, overall, "Late flights by hour", clock), folder / "late_by_hour.png")
    heat = exploration.late_by_hour_and_weekday(flights)
    plots.save(plots.late_by_hour_and_weekday(heat), folder / "late_by_hour_and_weekday.png")
    plots.save(plots.missingness(missing), folder / "missing.png")
    plots.save(plots.drift(drift), folder / "drift.png")


def main() -> None:
    tables, late_minutes = read_tables(VALIDATED), load_params().label.late_minutes
    flights = exploration.with_clock(tables.flights, late_minutes)
    weather = tables.weather.assign(month=month_of(tables.weather["hour"]))
    drift = pd.concat(
        [exploration.drift_by_month(flights, DRIFT_OF_FLIGHTS), exploration.drift_by_month(weather, DRIFT_OF_WEATHER)]
    )
    hours = flights.groupby("hour")["late"].mean()
    text = report(by_month(flights), hours, drift, late_minutes)  # before anything is replaced, as all that may fail
    with replacing_folder(EDA) as folder:
        draw(flights, exploration.missing_shares(tables), drift, folder)
    files.write_text(REPORTS / "eda.md", text)
    print(f"explore: {len(flights):,} flights, {flights['month'].nunique()} months: {REPORTS / 'eda.md'}")


if __name__ == "__main__":
    main()
