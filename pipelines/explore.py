"""A look at the data before any model: data/validated/ -> reports/eda.md and reports/eda/*.png."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def report(months: pd.DataFrame, says: Mapping[str, str], late_minutes: int) -> str:
    """The page around the pictures; `says` is what each of them says."""
    lines = [
        f"| {row.Index} | {row.flights:,} | {row.cancelled:,} | {row.lost:,} | {_share(row.late)} |"
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

{says["late_by_month"]}. A model is validated and tested on months after those it learned from,
and its loss is never compared across months.

![{says["late_by_month"]}](eda/late_by_month.png)

## The day

{says["late_by_hour"]}. An aircraft that is late carries its delay into its next flight, which is why
operations known at the moment carry most of the signal.

![{says["late_by_hour"]}](eda/late_by_hour.png)
![{says["late_by_hour_and_weekday"]}](eda/late_by_hour_and_weekday.png)

## What is missing

{says["missing"]}. Actual times are missing for flights that never left or never arrived, gusts when there was none.

![{says["missing"]}](eda/missing.png)

## What drifts

{says["drift"]}. The weather has seasons, so an alarm on every feature would ring
for months: seasonal drift is reported and never acted upon by itself.

![{says["drift"]}](eda/drift.png)
"""


def _share(share: Any) -> str:
    return "not known" if pd.isna(share) else f"{share:.1%}"


def draw(flights: pd.DataFrame, missing: pd.Series, drift: pd.DataFrame, folder: Path) -> dict[str, str]:
    """The pictures into the folder; what each of them says, by name."""
    labelled = flights.groupby("hour")["late"]
    hours = labelled.mean()[labelled.count() >= 100]
    months, overall = flights.groupby("month")["late"].mean(), float(flights["late"].mean())
    heat = exploration.late_by_hour_and_weekday(flights)
    pictures = {
        "late_by_month": plots.late_by_month(months, overall),
        "late_by_hour": plots.late_by_hour(hours, overall),
        "late_by_hour_and_weekday": plots.late_by_hour_and_weekday(heat),
        "missing": plots.missingness(missing),
        "drift": plots.drift(drift, exploration.REFERENCE_MONTHS),
    }
    for name, picture in pictures.items():
        plots.save(picture, folder / f"{name}.png")
    return {name: picture.finding for name, picture in pictures.items()}


def main() -> None:
    tables, late_minutes = read_tables(VALIDATED), load_params().label.late_minutes
    flights = exploration.with_clock(tables.flights, late_minutes)
    weather = tables.weather.assign(month=month_of(tables.weather["hour"]))
    drift = pd.concat(
        [exploration.drift_by_month(flights, DRIFT_OF_FLIGHTS), exploration.drift_by_month(weather, DRIFT_OF_WEATHER)]
    )
    with replacing_folder(EDA) as folder:
        says = draw(flights, exploration.missing_shares(tables), drift, folder)
        text = report(by_month(flights), says, late_minutes)  # before anything is replaced, as all that may fail
    files.write_text(REPORTS / "eda.md", text)
    print(f"explore: {len(flights):,} flights, {flights['month'].nunique()} months: {REPORTS / 'eda.md'}")


if __name__ == "__main__":
    main()
