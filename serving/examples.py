"""The requests' schemas and examples for the OpenAPI document: two real flights of November 2013."""

from typing import Any

from ontime.schema import Flight, Outcome
from serving.requests import MOST_FLIGHTS

MORNING = {
    "carrier": "UA",
    "flight_number": 1487,
    "origin": "EWR",
    "dest": "IAH",
    "scheduled_departure": "2013-11-05T05:15:00-05:00",
    "scheduled_arrival": "2013-11-05T08:08:00-06:00",
    "distance_miles": 1400,
}
THANKSGIVING_EVE = {
    "carrier": "VX",
    "flight_number": 29,
    "origin": "JFK",
    "dest": "SFO",
    "scheduled_departure": "2013-11-27T18:55:00-05:00",
    "scheduled_arrival": "2013-11-27T22:35:00-08:00",
    "distance_miles": 2586,
}

OUTCOME = {
    "flight_id": "UA1487-EWR-20131105T1015Z",
    "late": False,
    "delay_minutes": -3,
    "known_at": "2013-11-05T08:05:00-06:00",
}


def _body(one: dict[str, Any], examples: dict[str, Any]) -> dict[str, Any]:
    """One thing, or a list of them."""
    several = {"type": "array", "items": one, "minItems": 1, "maxItems": MOST_FLIGHTS}
    content = {
        "schema": {"oneOf": [one, several]},
        "examples": {name: {"value": value} for name, value in examples.items()},
    }
    return {"requestBody": {"required": True, "content": {"application/json": content}}}


REQUEST_BODY = _body(Flight.model_json_schema(), {"one flight": MORNING, "a list": [MORNING, THANKSGIVING_EVE]})
OUTCOMES_BODY = _body(Outcome.model_json_schema(), {"one outcome": OUTCOME, "a list": [OUTCOME]})
