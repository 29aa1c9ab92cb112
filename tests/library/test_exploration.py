"""The tables behind the exploration report, by hand and against what is known of 2013."""

import numpy as np
import pandas as pd
import pytest

from ontime import exploration
from ontime.datasets import Tables
from pipelines import explore

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(5)
NORMAL = pd.Series(RNG.normal(size=5000))


def test_the_late_rate_of_each_month_is_the_known_one(tables: Tables) -> None:
    flights = exploration.with_clock(tables["flights"], 15)

    rates = explore.monthly_counts(exploration.count_labels(flights))["positive"].tolist()

    expected = [0.235, 0.238, 0.236, 0.288, 0.227, 0.315, 0.322, 0.246, 0.137, 0.176, 0.181, 0.336]
    assert rates == pytest.approx(expected, abs=0.001)


def test_the_same_data_have_not_drifted() -> None:
    assert exploration.population_stability_index(NORMAL, NORMAL) == 0


def test_the_further_data_move_the_larger_the_index() -> None:
    indices = [exploration.population_stability_index(NORMAL, NORMAL + shift) for shift in (0.1, 0.5, 2)]

    assert indices == sorted(indices)
    assert indices[0] < 0.1 < 0.25 < indices[2]


def test_the_index_of_two_shares_is_the_textbooks() -> None:
    before, after = pd.Series(["a"] * 60 + ["b"] * 40), pd.Series(["a"] * 50 + ["b"] * 50)

    index = exploration.population_stability_index(before, after)

    assert index == pytest.approx(-0.1 * np.log(5 / 6) + 0.1 * np.log(5 / 4))


def test_nulls_that_appear_are_drift() -> None:
    holed = NORMAL.where(np.arange(5000) % 3 > 0)

    assert exploration.population_stability_index(NORMAL, holed) > 0.25


def test_an_unseen_category_is_drift_and_finite() -> None:
    index = exploration.population_stability_index(pd.Series(["a"] * 100), pd.Series(["a"] * 50 + ["b"] * 50))

    assert 0.25 < index < np.inf


def test_only_columns_with_nulls_are_missing_something(tables: Tables) -> None:
    shares = exploration.missing_shares(exploration.count_nulls(tables))

    assert "flights.carrier" not in shares
    assert shares["flights.departed_at"] == pytest.approx(8255 / 336_776)


def test_counts_of_months_add_up_to_those_of_the_year(tables: Tables) -> None:
    flights = exploration.with_clock(tables["flights"], 15)
    months = [rows for _, rows in flights.groupby("month")]
    cells = flights.groupby(["weekday", "hour"])["label"].mean()

    heat = exploration.rate_by_hour_and_weekday(pd.concat(map(exploration.count_labels, months)))
    missing = exploration.missing_shares(pd.concat([exploration.count_nulls({"flights": rows}) for rows in months]))

    assert heat.loc["Mon", 7] == cells[0, 7]
    assert missing["flights.tailnum"] == flights["tailnum"].isna().mean()


def test_an_hour_with_few_labels_has_no_rate(tables: Tables) -> None:
    flights = exploration.with_clock(tables["flights"], 15)
    at_five = flights[flights["hour"] == 5]
    few = at_five.assign(label=at_five["label"].where(at_five["label"].notna().cumsum() < exploration.ENOUGH))

    rates = exploration.rate_by_hour_and_weekday(
        exploration.count_labels(pd.concat([few, flights[flights["hour"] == 6]]))
    )

    assert [*rates.columns] == [6]


def by_month(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    months = [(str(month), rows[columns]) for month, rows in table.groupby("month")]
    return exploration.drift_by_month(pd.concat([rows for _, rows in months[:3]]), months)


def test_temperature_drifts_and_the_timetable_does_not(tables: Tables) -> None:
    flights = exploration.with_clock(tables["flights"], 15)
    weather = tables["weather"].assign(month=tables["weather"]["local_hour"].dt.strftime("%Y-%m"))

    temperature = by_month(weather, ["temp_f"]).loc["temp_f", "2013-04":"2013-10"]
    carriers = by_month(flights, ["carrier", "origin", "hour"])

    assert temperature.min() > 3
    assert carriers.to_numpy().max() < 0.06
