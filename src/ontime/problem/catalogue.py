"""The features of a flight: name, unit, meaning, data source. `features.py` and `schedule.py` compute them.

Windows and measured columns are declared here; the code that computes the features iterates over them.
"""

from collections.abc import Mapping, Sequence

from ontime.declaration import Feature, KnownFrom

LATEST_HOURS = 48  # older observations, and older events of an aircraft, count as unknown
LATEST_ARRIVAL_HOURS = 44  # after the scheduled departure: the longest delay, 24 h, and the longest flight, 20 h
# Flights with the same values of these columns are a group.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": (),
    "origin": ("origin",),
    "carrier": ("carrier",),
    "dest": ("dest",),
    "tailnum": ("tailnum",),
    "origin_carrier": ("origin", "carrier"),
}
# Groups of flights -> description of their departures, and below of their arrivals.
DEPARTED = {
    "origin": "from this airport",
    "origin_carrier": "of this airline from this airport",
    "all": "from New York",
}
ARRIVED = {"dest": "at this destination", "origin": "from this airport", "carrier": "of this airline"}
TIMETABLED = {"origin": DEPARTED["origin"], "origin_carrier": DEPARTED["origin_carrier"], "dest": "to this destination"}
TIMETABLE_MINUTES = (15, 60)
DEPARTURE_WINDOWS = tuple((group, hours) for group in DEPARTED for hours in (1, 3))  # group, hours
ARRIVAL_WINDOWS = (("dest", 24), ("origin", 3), ("carrier", 6))
OVERDUE_GROUPS = ("origin", "origin_carrier")
# Measured columns of the weather -> unit, meaning.
MEASURED = {
    "temp_f": ("deg F", "temperature, {}"),
    "dewp_f": ("deg F", "dew point, {}"),
    "humid_percent": ("%", "relative humidity, {}"),
    "wind_speed_mph": ("mph", "wind, {}"),
    "wind_gust_mph": ("mph", "gust, {}; empty when calm"),
    "precip_inches": ("inches", "rain or melted snow in the hour, {}"),
    "pressure_mb": ("mbar", "sea-level pressure, {}"),
    "visib_miles": ("miles", "visibility, {}"),
}
LEG = "the aircraft's previous leg out of New York"


def _schedule() -> list[Feature]:
    common = KnownFrom.REQUEST, "schedule"
    return [
        Feature("carrier", "code", "airline", *common, categorical=True),
        Feature("origin", "code", "airport of departure", *common, categorical=True),
        Feature("dest", "code", "airport of arrival", *common, categorical=True),
        Feature("departure_minute", "minute of day", "scheduled departure, New York clock", *common),
        Feature("arrival_minute", "minute of day", "scheduled arrival, New York clock", *common),
        Feature("weekday", "0 to 6, Monday is 0", "weekday of departure", *common),
        Feature("days_to_holiday", "days", "to the nearest US federal holiday, 7 at most", *common),
        Feature("distance_miles", "miles", "great-circle distance", *common),
        Feature("elapsed_minutes", "minutes", "scheduled time from gate to gate", *common),
        Feature(
            "slack_minutes", "minutes", "spare time in the timetable (elapsed minus 40 minus miles / 7.6)", *common
        ),
    ]


def _congestion() -> list[Feature]:
    return [
        Feature(
            f"timetable_{group}_{minutes}min",
            "flights",
            f"scheduled departures {words} within {minutes} minutes, itself included",
            KnownFrom.PLAN,
            "congestion",
        )
        for group, words in TIMETABLED.items()
        for minutes in TIMETABLE_MINUTES
    ]


def _plane() -> list[Feature]:
    common = KnownFrom.MOMENT, "plane"
    return [
        Feature("plane_age_years", "years", "year of the flight minus year built", *common),
        Feature("plane_seats", "seats", "seats of the aircraft", *common),
        Feature("plane_engines", "engines", "engines of the aircraft", *common),
    ]


def _weather() -> list[Feature]:
    common = KnownFrom.MOMENT, "weather"
    return [
        *(Feature(name, unit, meaning.format("last observation at the origin"), *common)
          for name, (unit, meaning) in MEASURED.items()),
        Feature("temp_change_3h_f", "deg F", "change of temperature over the 3 hours before it", *common),
        Feature("pressure_change_3h_mb", "mbar", "change of pressure over the 3 hours before it", *common),
        Feature("precip_3h_inches", "inches", "precipitation of the last 3 observed hours", *common),
        Feature("weather_age_hours", "hours", "age of that observation at the prediction moment", *common),
    ]  # fmt: skip


def _operations() -> list[Feature]:
    common = KnownFrom.MOMENT, "operations"
    windows = [("departures", group, DEPARTED[group], hours) for group, hours in DEPARTURE_WINDOWS]
    windows += [("arrivals", group, ARRIVED[group], hours) for group, hours in ARRIVAL_WINDOWS]
    features = []
    for event, group, words, hours in windows:
        stem, what = f"{event}_{group}_{hours}h", f"{event} {words} in the last {hours} h"
        features += [
            Feature(f"{stem}_count", "flights", what, *common),
            Feature(f"{stem}_late", "share", f"share {{at_least}} minutes late or more among {what}", *common),
            Feature(f"{stem}_delay", "minutes", f"mean delay of {what}", *common),
        ]
    for group in OVERDUE_GROUPS:
        what = f"flights {DEPARTED[group]} scheduled in the last 3 h"
        features += [
            Feature(f"overdue_{group}_share", "share", f"{what}: share that has not left", *common),
            Feature(f"overdue_{group}_wait", "minutes", f"{what}: mean wait of all so far", *common),
        ]
    return features


def _rotation() -> list[Feature]:
    common = KnownFrom.MOMENT, "rotation"
    return [
        Feature("aircraft_departure_delay", "minutes", "its last known departure delay", *common),
        Feature("aircraft_departure_age", "minutes", "since that departure", *common),
        Feature("aircraft_arrival_delay", "minutes", "its last known arrival delay", *common),
        Feature("aircraft_arrival_age", "minutes", "since that arrival", *common),
        Feature("turnaround_minutes", "minutes", f"scheduled departure of {LEG} to this one's", *common),
        Feature("previous_leg_status", "0 not departed, 1 in the air, 2 arrived", LEG, *common),
        Feature("return_slack_scheduled", "minutes", f"left after {LEG} and the flight back, by timetable", *common),
        Feature(
            "return_slack_expected", "minutes", f"left after {LEG} and the flight back, by its known delay", *common
        ),
    ]


FEATURES: Sequence[Feature] = (
    *_schedule(), *_congestion(), *_plane(), *_weather(), *_operations(), *_rotation(),
)  # fmt: skip
