"""The features of a flight: name, unit, meaning, data source. `features.py` and `schedule.py` compute them.

Windows and measured columns are declared here; the code that computes the features iterates over them.
"""

from collections.abc import Mapping, Sequence

from ontime.declaration import Feature, KnownFrom

Windows = Mapping[tuple[str, int], Sequence[str]]  # group, hours -> measures

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
    "route": ("origin", "dest"),
    "dest_carrier": ("dest", "carrier"),
    # With the route, because numbers are given to other flights: in 2023's files, in each month.
    "number": ("carrier", "flight_number", "origin", "dest"),
}
# Groups of flights -> description of their departures, and below of their arrivals.
DEPARTED = {
    "origin": "from this airport",
    "origin_carrier": "of this airline from this airport",
    "all": "from New York",
}
ARRIVED = {
    "dest": "at this destination",
    "origin": "from this airport",
    "carrier": "of this airline",
    "all": "from New York",
    "origin_carrier": "of this airline from this airport",
    "route": "of this route",
    "dest_carrier": "of this airline at this destination",
}
TIMETABLED = {"origin": DEPARTED["origin"], "origin_carrier": DEPARTED["origin_carrier"], "dest": "to this destination"}
TIMETABLE_MINUTES = (15, 60)
MEASURES = {
    "count": ("flights", "{}"),
    "late": ("share", "share {{at_least}} minutes late or more among {}"),
    "delay": ("minutes", "mean delay of {}"),
    "lost": ("minutes", "mean minutes lost on the way (arrival delay minus departure delay) of {}"),
}
DELAYS, LOST = ("count", "late", "delay"), ("lost",)
DEPARTURE_WINDOWS = {(group, hours): DELAYS for group in DEPARTED for hours in (1, 3)}
ARRIVAL_WINDOWS = {("dest", 24): DELAYS, ("origin", 3): DELAYS, ("carrier", 6): DELAYS}
EN_ROUTE_WINDOWS = {
    ("dest", 6): LOST, ("dest", 24): LOST, ("all", 6): LOST, ("origin_carrier", 24): LOST,
    ("route", 24): ("delay",), ("dest_carrier", 24): ("delay",),
}  # fmt: skip
RECORD_DAYS = (7, 28)
OVERDUE_GROUPS = ("origin", "origin_carrier")
# Measured columns of the weather -> unit, meaning.
MEASURED = {
    "temp_f": ("deg F", "temperature, {}"),
    "dewp_f": ("deg F", "dew point, {}"),
    "humid_percent": ("%", "relative humidity, {}"),
    "wind_speed_mph": ("mph", "wind, {}"),
    "wind_gust_mph": ("mph", "gust, {}; empty when none is known"),
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


def _wind() -> list[Feature]:
    common = KnownFrom.MOMENT, "wind"
    return [
        Feature("wind_direction_degrees", "degrees, 90 is east", "where the wind at the origin comes from", *common),
        Feature("wind_from_east_mph", "mph", "part of that wind from the east; below 0 from the west", *common),
        Feature("wind_from_north_mph", "mph", "part of that wind from the north; below 0 from the south", *common),
    ]


def _windows(event: str, groups: Mapping[str, str], windows: Windows, family: str) -> list[Feature]:
    features = []
    for (group, hours), measures in windows.items():
        what = f"{event} {groups[group]} in the last {hours} h"
        for measure in measures:
            unit, template = MEASURES[measure]
            name = f"{event}_{group}_{hours}h_{measure}"
            features.append(Feature(name, unit, template.format(what), KnownFrom.MOMENT, family))
    return features


def _operations() -> list[Feature]:
    common = KnownFrom.MOMENT, "operations"
    features = _windows("departures", DEPARTED, DEPARTURE_WINDOWS, "operations")
    features += _windows("arrivals", ARRIVED, ARRIVAL_WINDOWS, "operations")
    for group in OVERDUE_GROUPS:
        what = f"flights {DEPARTED[group]} scheduled in the last 3 h"
        features += [
            Feature(f"overdue_{group}_share", "share", f"{what}: share that has not left", *common),
            Feature(f"overdue_{group}_wait", "minutes", f"{what}: mean wait of all so far", *common),
        ]
    return features


def _record() -> list[Feature]:
    features = []
    for days in RECORD_DAYS:
        what = f"arrivals of this flight number on this route in the last {days} days"
        for measure in DELAYS:
            unit, template = MEASURES[measure]
            less = "" if measure == "count" else ", less that of all flights from New York"
            features.append(
                Feature(f"record_{days}d_{measure}", unit, template.format(what) + less, KnownFrom.MOMENT, "record")
            )
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
    *_schedule(), *_congestion(), *_plane(), *_weather(), *_wind(),
    *_operations(), *_windows("arrivals", ARRIVED, EN_ROUTE_WINDOWS, "en_route"), *_record(), *_rotation(),
)  # fmt: skip
