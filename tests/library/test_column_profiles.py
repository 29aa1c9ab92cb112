"""Months of measured columns are compared with those of the reference dataset."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ontime import column_profiles
from ontime.availability import Observed
from ontime.datasets import Table
from ontime.violations import add_up

GAUGE = Table("gauge", Observed("known_at"), contract=lambda _: None, moment="at", measured=("level",))  # type: ignore[arg-type,return-value]  # its contract is not called
FILE = Path("profile.json")


def hours(first: str, days: int, level: Callable[[int], float | None]) -> pd.DataFrame:
    at = pd.date_range(first, periods=24 * days, freq="h", tz="UTC") + pd.Timedelta(hours=5)
    return pd.DataFrame({"at": at, "level": [level(number) for number in range(len(at))]}).astype({"level": float})


def sawtooth(number: int) -> float:
    """0 in half of the hours, otherwise 3 on average."""
    return (0.0, 2.0, 0.0, 4.0)[number % 4]


def messages(*months: pd.DataFrame, table: Table = GAUGE) -> list[str]:
    rows = pd.concat(months, ignore_index=True)
    reference = column_profiles.extremes_of(column_profiles.profiles_of(GAUGE, hours("2013-01-01", 31, sawtooth)))
    profiles = column_profiles.profiles_of(table, rows)
    return [str(each) for each in add_up(column_profiles.violations_of_profiles(profiles, reference, FILE))]


JANUARY, MARCH = hours("2014-01-01", 31, sawtooth), hours("2014-03-01", 31, sawtooth)


def test_months_like_those_of_the_reference_are_accepted() -> None:
    assert messages(JANUARY, MARCH) == []


@pytest.mark.parametrize(
    ("level", "message"),
    [
        (lambda n: 2.54 * sawtooth(n), "mean size of the values that are not 0 between 2.4 and 3.75: 1 month; first "
         "month 2014-02: 7.62"),
        (lambda n: sawtooth(n) if n % 8 < 4 else 0.0, "share of values that are not 0 between 0.4 and 0.625: 1 month; "
         "first month 2014-02: 0.25"),
        (lambda n: sawtooth(n) if n % 8 < 4 else None, "share of rows with a value between 0.8 and 1.25: 1 month; "
         "first month 2014-02: 0.5"),
        (lambda _: 3.0, "has more than one value: 1 month; first month 2014-02: 3.0"),
        (lambda _: 0.0, "has more than one value: 1 month; first month 2014-02: 0.0"),
        (lambda _: None, "share of rows with a value between 0.8 and 1.25: 1 month; first month 2014-02: 0.0"),
    ],
    ids=["another unit", "mostly zero", "half empty", "constant", "zero", "empty"],
)  # fmt: skip
def test_a_month_that_differs_is_named_with_its_value_and_the_limits(
    level: Callable[[int], float | None], message: str
) -> None:
    assert f"gauge.level: {message}" in messages(JANUARY, hours("2014-02-01", 28, level), MARCH)


def test_three_of_many_months_are_shown() -> None:
    other = [hours(f"2014-0{month}-01", 28, lambda n: 10 * sawtooth(n)) for month in (4, 5, 6, 7)]

    (message,) = messages(JANUARY, *other)

    assert ": 4 months; first month 2014-04: 30.0, month 2014-05: 30.0, month 2014-06: 30.0" in message


def test_a_column_that_is_empty_in_every_month_is_accepted() -> None:
    assert messages(hours("2014-01-01", 31, lambda _: None), hours("2014-02-01", 28, lambda _: None)) == []


@pytest.mark.parametrize(("days", "count"), [(column_profiles.MIN_DAYS - 1, 0), (column_profiles.MIN_DAYS, 1)])
def test_a_month_with_too_few_days_is_not_compared(days: int, count: int) -> None:
    assert len(messages(hours("2014-02-01", days, lambda n: 10 * sawtooth(n)))) == count


def test_a_table_without_a_moment_is_compared_as_a_whole() -> None:
    (message,) = messages(hours("2014-02-01", 1, lambda n: 10 * sawtooth(n)), table=replace(GAUGE, moment=None))

    assert message.endswith("first month all rows: 30.0")


def test_a_column_that_the_file_lacks_is_named_with_the_command_that_adds_it() -> None:
    table = replace(GAUGE, measured=("level", "depth"))

    assert messages(JANUARY.assign(depth=JANUARY["level"]), table=table) == [
        "gauge.depth: is not in profile.json: run `ontime profile`"
    ]


def test_a_column_of_text_is_left_to_the_contract() -> None:
    assert messages(JANUARY.assign(level="high")) == []


def test_the_file_has_a_line_for_each_column() -> None:
    extremes = {"gauge": {"level": {"filled": (0.5, 1.0)}, "depth": {"filled": (1.0, 1.0)}}}

    assert column_profiles.as_text(extremes).splitlines() == [
        "{",
        '  "gauge": {',
        '    "level": {"filled": [0.5, 1.0]},',
        '    "depth": {"filled": [1.0, 1.0]}',
        "  }",
        "}",
    ]
