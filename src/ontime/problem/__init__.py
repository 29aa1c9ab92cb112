"""The problem: will a flight out of New York arrive late? Declared in this folder and in params.yaml only.

Replace both for another problem (docs/make-it-yours.md). All other code reads `PROBLEM`, also in the service, and
`ontime.problem.data.DATA`, which declares tables and needs pandas.
"""

from datetime import date

from ontime.declaration import Ablation, Cell, FreshnessCheck, Label, Problem, Search, Slice
from ontime.problem import catalogue, reasons, schedule, words
from ontime.problem.request import Flight

PROBLEM = Problem(
    name="flights",
    zone="America/New_York",
    request=Flight,
    request_features=schedule.features,
    features=catalogue.FEATURES,
    label=Label(column="arr_delay_minutes", known_at="arrived_at", unit="minutes", limits=(-180, 2880)),
    baseline=(Cell("carrier"), Cell("origin"), Cell("departure_minute", width=60)),
    slices=(
        Slice("origin", "origin"),
        Slice("carrier", "carrier"),
        Slice(
            "hour",
            "departure_minute",
            {"before 09:00": (0, 540), "09:00-13:59": (540, 840), "14:00-17:59": (840, 1080),
             "18:00 and later": (1080, 1440)},
        ),
        Slice(
            "distance",
            "distance_miles",
            {"under 500 mi": (0, 500), "500-999 mi": (500, 1000), "1000-1999 mi": (1000, 2000),
             "2000 mi and more": (2000, 10**5)},
        ),
    ),
    ablations={
        "without_tailnum": Ablation(
            families=("plane", "rotation"),
            words="The tail number is that of the aircraft that actually flew; {lead} before, it may still change.",
        )
    },
    freshness_checks=(
        # An hour or two of weather may be missing; in 2013 a whole day is, which this reports.
        FreshnessCheck("weather_age_hours", lambda hours: hours <= 4),
        FreshnessCheck("departures_all_3h_count", lambda departures: departures != 0),
    ),
    search=(
        Search("origin", "From", choices=True),
        Search("dest", "To", placeholder="SFO"),
        Search("carrier", "Airline", placeholder="B6"),
        Search("flight_number", "Flight number", placeholder="29"),
    ),
    words=words.WORDS,
    describe=words.describe,
    outcome=words.outcome,
    reason=reasons.reason,
    examples={
        "a morning flight": {
            "carrier": "UA", "flight_number": 1487, "origin": "EWR", "dest": "IAH",
            "scheduled_departure": "2013-11-05T05:15:00-05:00", "scheduled_arrival": "2013-11-05T08:08:00-06:00",
            "distance_miles": 1400,
        },
        "the evening before Thanksgiving": {
            "carrier": "VX", "flight_number": 29, "origin": "JFK", "dest": "SFO",
            "scheduled_departure": "2013-11-27T18:55:00-05:00", "scheduled_arrival": "2013-11-27T22:35:00-08:00",
            "distance_miles": 2586,
        },
    },
    example_outcome={
        "entity_id": "UA1487-EWR-20131105T1015Z",
        "label": False,
        "value": -3,
        "known_at": "2013-11-05T08:05:00-06:00",
    },
    example_day=date(2013, 11, 27),
    example_hour=18,
    lookback_hours=24 * max(catalogue.RECORD_DAYS),
    halo_hours=catalogue.LATEST_ARRIVAL_HOURS,
)  # fmt: skip
