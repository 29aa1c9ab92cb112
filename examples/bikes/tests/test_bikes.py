"""The problem's own tests: its data as counted by hand, one feature, and leaks that must be refused."""

import pandas as pd
import pytest

from ontime import contract, features, point_in_time, sources
from ontime.datasets import Tables
from ontime.params import load_params
from ontime.point_in_time import FutureLeak
from ontime.problem import PROBLEM
from ontime.problem.data import DATA

START, END = pd.Timestamp("2012-10-01", tz="America/New_York"), pd.Timestamp("2012-10-08", tz="America/New_York")
PARAMS = load_params()


@pytest.fixture(scope="module")
def tables() -> Tables:
    return contract.clean(sources.read("bikes"))[0]


def build(tables: Tables) -> pd.DataFrame:
    return features.build(tables, START, END, PARAMS.features, PARAMS.question)


def test_the_data_are_two_years_of_hours(tables: Tables) -> None:
    rentals = tables["rentals"]

    assert len(rentals) == 17_379
    assert rentals["rentals"].sum() == 3_292_679
    assert (rentals["rentals"] >= PARAMS.label.at_least).mean() == pytest.approx(0.2256, abs=1e-4)


def test_the_dead_sensor_is_emptied_for_its_day() -> None:
    raw = sources.read("bikes")
    report = contract.clean(raw)[2]

    hits = {rule["rule"]: rule["hits"] for rule in report["rules"]}
    assert hits == {"dead_humidity_sensor": 22, "no_sky": 1258}


def test_features_use_what_was_known_an_hour_before(tables: Tables) -> None:
    evening = build(tables).set_index("entity_id").loc["20121003T21Z"]
    rentals = tables["rentals"].set_index("entity_id")["rentals"]

    assert evening["hour"] == 17
    assert evening["rentals_2h_ago"] == rentals["20121003T19Z"]
    assert evening["rentals_168h_ago"] == rentals["20120926T21Z"]
    assert evening["weather_age_hours"] == 0


@pytest.mark.parametrize("column", ["casual", "rentals"])
def test_a_count_within_the_hour_is_refused_as_a_feature(tables: Tables, column: str) -> None:
    def leaking(available: Tables) -> pd.DataFrame:
        built = build(available)
        values = available["rentals"].set_index("entity_id").loc[built["entity_id"], column]
        return built.assign(rentals_2h_ago=values.to_numpy())

    rows = leaking(tables)
    with pytest.raises(FutureLeak, match="rentals_2h_ago of 2012"):
        point_in_time.refuse_future(tables, rows, leaking, [rows["moment"].iloc[40]])


def test_the_examples_are_hours_of_the_data(tables: Tables) -> None:
    for body in PROBLEM.examples.values():
        hour = PROBLEM.request.model_validate_json(pd.Series(body).to_json())
        assert hour.entity_id in set(tables[DATA.entities]["entity_id"])


def test_half_past_is_not_a_whole_hour() -> None:
    with pytest.raises(ValueError, match="is not a whole hour"):
        PROBLEM.request.model_validate_json('{"begins_at": "2012-10-10T17:30:00-04:00"}')
