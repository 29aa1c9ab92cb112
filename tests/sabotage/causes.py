"""Faults of known cause in the predictions of a fortnight: in the input of the model, or in the outcomes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import schema, slices
from ontime.problem import PROBLEM
from ontime.problem.request import ORIGINS

Matrix = NDArray[np.float32]
Rng = np.random.Generator
POSITIONS = {name: place for place, name in enumerate(schema.FEATURE_NAMES)}
METRIC: dict[str, Callable[[Matrix], Matrix]] = {
    "temp_f": lambda v: (v - 32) / 1.8,
    "dewp_f": lambda v: (v - 32) / 1.8,
    "temp_change_3h_f": lambda v: v / 1.8,
    "wind_speed_mph": lambda v: 0.447 * v,
    "wind_gust_mph": lambda v: 0.447 * v,
    "precip_inches": lambda v: 25.4 * v,
    "precip_3h_inches": lambda v: 25.4 * v,
    "visib_miles": lambda v: 1.609 * v,
    "pressure_mb": lambda v: 0.0295 * v,
    "pressure_change_3h_mb": lambda v: 0.0295 * v,
}


@dataclass(frozen=True)
class Answered:
    """Scored flights: the model's input, the outcome, and the columns for slices and other labels."""

    flights: pd.DataFrame  # day, departure_minute, origin, carrier, distance_miles, arr_delay_minutes
    matrix: Matrix
    label: NDArray[np.bool_]


Change = Callable[[Matrix, "Answered", Rng], Matrix]  # takes and returns the columns of a family
Plant = Callable[[Answered, Rng], Answered]


class Fault(NamedTuple):
    cause: str  # as a diagnosis calls it
    planted: str
    plant: Plant


def of_family(family: str, change: Change) -> Plant:
    places = [POSITIONS[name] for name in schema.FAMILIES[family]]

    def plant(healthy: Answered, rng: Rng) -> Answered:
        matrix = healthy.matrix.copy()
        matrix[:, places] = change(matrix[:, places], healthy, rng)
        return replace(healthy, matrix=matrix)

    return plant


def missing(values: Matrix, _: Answered, __: Rng) -> Matrix:
    return np.full_like(values, np.nan)


def zero(values: Matrix, _: Answered, __: Rng) -> Matrix:
    return np.zeros_like(values)


def frozen(values: Matrix, _: Answered, rng: Rng) -> Matrix:
    """All flights have the values of one flight."""
    return np.broadcast_to(values[rng.integers(len(values))], values.shape)


def shuffled(values: Matrix, healthy: Answered, rng: Rng) -> Matrix:
    """Among the flights of a day."""
    mixed = values.copy()
    for places in healthy.flights.groupby("day").indices.values():
        mixed[places] = values[rng.permutation(places)]
    return mixed


def shifted(values: Matrix, _: Answered, __: Rng) -> Matrix:
    """Each value in the next one's column."""
    return np.roll(values, 1, axis=1)


def days_old(days: int) -> Change:
    """The values of the flight at about the same time from the same airport so many days before."""

    def change(values: Matrix, healthy: Answered, _: Rng) -> Matrix:
        flights = healthy.flights
        day = (flights["day"] - flights["day"].min()).dt.days.to_numpy()
        minute, origin = flights["departure_minute"].to_numpy(), flights["origin"].to_numpy()
        old = values.copy()
        for today in np.unique(day):
            for airport in ORIGINS:
                places = np.flatnonzero((day == today) & (origin == airport))
                before = np.flatnonzero((day == (today - days) % (day.max() + 1)) & (origin == airport))
                before = before[np.argsort(minute[before], kind="stable")]
                nearest = np.searchsorted(minute[before], minute[places]).clip(max=len(before) - 1)
                old[places] = values[before[nearest]]
        return old

    return change


def in_units(family: str, units: Mapping[str, Callable[[Matrix], Matrix]]) -> Change:
    names = schema.FAMILIES[family]

    def change(values: Matrix, _: Answered, __: Rng) -> Matrix:
        columns = [
            units[name](column) if name in units else column for name, column in zip(names, values.T, strict=True)
        ]
        return np.column_stack(columns)

    return change


def minutes_times(family: str, factor: float) -> Change:
    minutes = [each.name for each in schema.FEATURES if each.unit == "minutes" and each.name in schema.FAMILIES[family]]
    return in_units(family, {name: lambda values: factor * values for name in minutes})


def recoded(values: Matrix, _: Answered, rng: Rng) -> Matrix:
    """Codes of airlines and airports that stand for others; they are the first columns of the timetable."""
    mixed = values.copy()
    for place in range(len(schema.CATEGORICAL)):
        present = ~np.isnan(values[:, place])
        codes = rng.permutation(int(values[present, place].max()) + 1)
        mixed[present, place] = codes[values[present, place].astype(int)]
    return mixed


def flipped(dimension: str, name: str, share: float) -> Plant:
    """The outcomes of so many flights of a slice are the opposite."""

    def plant(healthy: Answered, rng: Rng) -> Answered:
        hit = (slices.of_entities(healthy.flights)[dimension] == name).to_numpy() & (
            rng.random(len(healthy.label)) < share
        )
        return replace(healthy, label=healthy.label ^ hit)

    return plant


def late_from(minutes: int) -> Plant:
    """Outcomes by another rule of lateness."""
    return lambda healthy, _: replace(healthy, label=(healthy.flights["arr_delay_minutes"] >= minutes).to_numpy(bool))


TEN_TIMES: dict[str, Callable[[Matrix], Matrix]] = dict.fromkeys(schema.FAMILIES["congestion"], lambda v: 10 * v)


def _families() -> list[Fault]:
    stale = "the values of {} days before"
    common: dict[str, Change] = {
        "missing": missing,
        "all zero": zero,
        "frozen": frozen,
        "shuffled": shuffled,
        "shifted by a column": shifted,
    }
    common |= {stale.format(days): days_old(days) for days in (1, 3)}
    named = [(family, words, change) for family in schema.FAMILIES for words, change in common.items()]
    named += [
        ("weather", "metric units", in_units("weather", METRIC)),
        ("operations", "delays in seconds", minutes_times("operations", 60)),
        ("operations", "delays in hours", minutes_times("operations", 1 / 60)),
        ("rotation", "minutes in seconds", minutes_times("rotation", 60)),
        ("rotation", "delays with the other sign", minutes_times("rotation", -1)),
        ("congestion", "counted ten times", in_units("congestion", TEN_TIMES)),
        ("schedule", "codes that stand for others", recoded),
    ]  # fmt: skip
    return [Fault(family, f"{family}: {words}", of_family(family, change)) for family, words, change in named]


BANDS = {dimension.name: dimension.bands for dimension in PROBLEM.slices}
SLICES = (
    *(("origin", name) for name in ORIGINS),
    *(("carrier", name) for name in ("UA", "B6", "EV", "DL", "AA", "MQ", "US", "9E", "WN", "VX")),
    *(("hour", name) for name in BANDS["hour"]),
    *(("distance", name) for name in BANDS["distance"]),
)
FAULTS: tuple[Fault, ...] = (
    *_families(),
    *(
        Fault(
            f"{dimension} {name}",
            f"{share:.0%} of the outcomes of {dimension} {name} flipped",
            flipped(dimension, name, share),
        )
        for dimension, name in SLICES
        for share in (1.0, 0.5, 0.3)
    ),
    *(Fault("base rate", f"late from {minutes} minutes on", late_from(minutes)) for minutes in (-5, 1, 5, 45)),
)
