"""Reasons are worded for travellers, with the label definition of the release that made the prediction."""

import json

import numpy as np
import pytest

from ontime import schema
from ontime.declaration import Names, Question
from ontime.problem import PROBLEM
from ontime.problem.request import Flight

FLIGHT = Flight.model_validate_json(json.dumps(PROBLEM.examples["the evening before Thanksgiving"]))
NAMES = {"carrier": {"VX": "Virgin America"}, "dest": {"SFO": "San Francisco Intl"}}


def reason(name: str, value: float | str, label_at_least: int = 15, names: Names = NAMES) -> str:
    return PROBLEM.reason(name, value, FLIGHT, names, Question(label_at_least, 120))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("carrier", "VX", "airline: Virgin America"),
        ("carrier", np.nan, "airline: Virgin America, new to the model"),
        ("origin", "JFK", "from JFK"),
        ("dest", "SFO", "to San Francisco Intl (SFO)"),
        ("departure_minute", 315, "leaves at 05:15"),
        ("weekday", 2, "leaves on a Wednesday"),
        ("slack_minutes", -12.2, "the timetable is 12 minutes short"),
        (
            "departures_origin_carrier_3h_late",
            0.42,
            "42 % of the Virgin America departures from JFK in the last 3 hours were 15 minutes late or more",
        ),
        ("departures_origin_1h_delay", 23.4, "departures from JFK in the last hour were 23 minutes late on average"),
        ("departures_all_1h_count", 1, "1 departure from New York in the last hour"),
        ("timetable_dest_60min", 3, "3 departures for SFO scheduled within 1 hour, this one included"),
        ("temp_f", 31.04, "temperature at JFK: 31 °F"),
        ("temp_f", np.nan, "not known: the temperature at JFK"),
        ("wind_gust_mph", np.nan, "no gusts known at JFK"),
        ("previous_leg_status", 1, "the aircraft's previous flight out of New York is in the air"),
        (
            "arrivals_dest_6h_lost",
            12.3,
            "arrivals at SFO from New York in the last 6 hours lost 12 minutes en route, on average",
        ),
        (
            "arrivals_all_6h_lost",
            -1,
            "arrivals from New York in the last 6 hours made up 1 minute en route, on average",
        ),
        (
            "arrivals_dest_24h_lost",
            np.nan,
            "not known: the time lost on the way by arrivals at SFO from New York in the last 24 hours",
        ),
        ("arrivals_route_24h_delay", 0, "arrivals at SFO from JFK in the last 24 hours were on time on average"),
        ("wind_direction_degrees", 350, "wind at JFK from the north"),
        ("wind_direction_degrees", 220, "wind at JFK from the south-west"),
        ("wind_from_east_mph", -11.6, "wind at JFK: 12 mph of it from the west"),
        ("wind_from_north_mph", 0.2, "no wind from north or south at JFK"),
        ("record_28d_count", 1, "VX 29 has landed once at SFO from JFK in the last 28 days"),
        ("record_7d_count", 0, "VX 29 has not landed at SFO from JFK in the last 7 days"),
        (
            "record_28d_late",
            0.12,
            "the late share of VX 29 in the last 28 days was 12 percentage points above that of all flights from New "
            "York",
        ),
        ("record_7d_late", 0.001, "the late share of VX 29 in the last 7 days was that of all flights from New York"),
        (
            "record_7d_delay",
            -9.6,
            "the mean delay of VX 29 in the last 7 days was 10 minutes below that of all flights from New York",
        ),
        ("record_7d_delay", 0.3, "the mean delay of VX 29 in the last 7 days was that of all flights from New York"),
        ("record_28d_delay", np.nan, "not known: the mean delay of VX 29 in the last 28 days"),
        ("return_slack_expected", -30, "with its delay the aircraft is back 30 minutes too late"),
    ],
)
def test_a_feature_is_said_in_words(name: str, value: float | str, text: str) -> None:
    assert reason(name, value) == text


def test_late_in_a_reason_is_what_the_release_calls_late() -> None:
    text = reason("arrivals_dest_24h_late", 0.5, label_at_least=30)

    assert text == "50 % of the arrivals at SFO from New York in the last 24 hours were 30 minutes late or more"


def test_what_has_no_name_is_said_by_its_code() -> None:
    texts = [reason(name, code, names={}) for name, code in (("carrier", "VX"), ("dest", "SFO"))]

    assert texts == ["airline: VX", "to SFO"]


@pytest.mark.parametrize("name", schema.FEATURE_NAMES)
def test_every_feature_can_be_said_without_its_own_name(name: str) -> None:
    for value in (getattr(FLIGHT, name), np.nan) if name in schema.CATEGORICAL else (0.0, 1.0, np.nan):
        assert "_" not in reason(name, value)


@pytest.mark.parametrize("name", schema.ONLINE)
def test_a_feature_that_is_not_known_says_what_is_not_known(name: str) -> None:
    text = reason(name, np.nan)

    assert text == "no gusts known at JFK" or text.startswith("not known: ")
    assert "the timetable" not in text or name == "return_slack_scheduled"
