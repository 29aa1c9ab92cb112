"""The request's schema and examples for the OpenAPI document: two real flights of November 2013."""

from typing import Any

from ontime.schema import Flight
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

_FLIGHT = Flight.model_json_schema()
REQUEST_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [_FLIGHT, {"type": "array", "items": _FLIGHT, "minItems": 1, "maxItems": MOST_FLIGHTS}]
                },
                "examples": {
                    "one flight": {"value": MORNING},
                    "a list": {"value": [MORNING, THANKSGIVING_EVE]},
                },
            }
        },
    }
}
