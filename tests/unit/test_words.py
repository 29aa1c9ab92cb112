"""What moved an answer is said as a traveller would say it, by the rule of the release that answers."""

import json
from typing import Any

import numpy as np
import pytest

from ontime import schema, words
from ontime.release import Manifest, Names
from ontime.schema import Flight
from serving import examples

FLIGHT = Flight.model_validate_json(json.dumps(examples.THANKSGIVING_EVE))
NAMES = Names(carriers={"VX": "Virgin America"}, airports={"SFO": "San Francisco Intl"})


def manifest(late_minutes: int = 15, names: Names = NAMES) -> Manifest:
    """As much of it as the words ask for."""
    fields: dict[str, Any] = {"late_minutes": late_minutes, "lead_minutes": 120, "names": names}
    return Manifest.model_construct(**fields)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("carrier", 1, "airline: Virgin America"),
        ("carrier", np.nan, "airline: Virgin America, new to the model"),
        ("dest", 1, "to San Francisco Intl (SFO)"),
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
        ("wind_gust_mph", np.nan, "no gusts reported at JFK"),
        ("previous_leg_status", 1, "the aircraft's previous flight out of New York is in the air"),
        ("return_slack_expected", -30, "with its delay the aircraft is back 30 minutes too late"),
    ],
)
def test_a_feature_is_said_in_words(name: str, value: float, said: str) -> None:
    assert words.reason(name, value, FLIGHT, manifest()) == said


def test_late_in_a_reason_is_what_the_release_calls_late() -> None:
    said = words.reason("arrivals_dest_24h_late", 0.5, FLIGHT, manifest(late_minutes=30))

    assert said == "50 % of the arrivals at SFO from New York in the last 24 hours were 30 minutes late or more"


def test_what_has_no_name_is_said_by_its_code() -> None:
    told = [words.reason(name, 0, FLIGHT, manifest(names=Names())) for name in ("carrier", "dest")]

    assert told == ["airline: VX", "to SFO"]


@pytest.mark.parametrize("name", schema.FEATURE_NAMES)
def test_every_feature_can_be_said_without_its_own_name(name: str) -> None:
    for value in (0.0, 1.0, np.nan):
        assert "_" not in words.reason(name, value, FLIGHT, manifest())


@pytest.mark.parametrize("name", schema.MATERIALISED)
def test_a_feature_that_is_not_known_says_what_is_not_known(name: str) -> None:
    said = words.reason(name, np.nan, FLIGHT, manifest())

    assert said == "no gusts reported at JFK" or said.startswith("not known: ")
    assert "the timetable" not in said or name == "return_slack_scheduled"
