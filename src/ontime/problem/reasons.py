"""The text of an explanation: each feature of a flight and its value, in a traveller's words.

The service imports this file. `catalogue.py` has the technical descriptions.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from ontime.declaration import Names, Question, span
from ontime.problem.request import Flight

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
LEG_STATES = ("has not left yet", "is in the air", "has landed")
MOST_DAYS_TO_HOLIDAY = 7
WINDOW = re.compile(r"(departures|arrivals)_(\w+)_(\d+)h_(count|late|delay|lost)")
TIMETABLE = re.compile(r"timetable_(\w+)_(\d+)min")
RECORD = re.compile(r"record_(\d+)d_(count|late|delay)")
COMPASS = ("north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west")


class Context(NamedTuple):
    """The parts of a flight that its sentences mention."""

    carrier: str
    origin: str
    dest: str
    number: str  # "B6 29"
    question: Question


Sentence = Callable[[float, Context], str]


def reason(name: str, value: float | str, flight: Flight, names: Names, question: Question) -> str:
    """A feature of a flight in a few words, such as "wind at JFK: 18 mph"."""
    context = Context(
        carrier=names.get("carrier", {}).get(flight.carrier, flight.carrier),
        origin=flight.origin,
        dest=flight.dest,
        number=f"{flight.carrier} {flight.flight_number}",
        question=question,
    )
    if name in ("carrier", "origin", "dest"):
        return _category(name, not isinstance(value, str), context, names)
    assert not isinstance(value, str)  # noqa: S101  the others are numbers
    if np.isnan(value) and name not in HAS_TEXT_FOR_NAN:
        return f"not known: {_subject(name, context)}"
    return _sentence(name)(value, context)


def airport_name(code: str, names: Names) -> str:
    """
    >>> airport_name("SFO", {"dest": {"SFO": "San Francisco Intl"}}), airport_name("XYZ", {})
    ('San Francisco Intl (SFO)', 'XYZ')
    """
    airports = {**names.get("dest", {}), **names.get("origin", {})}
    return f"{airports[code]} ({code})" if code in airports else code


def _category(name: str, unseen: bool, context: Context, names: Names) -> str:
    text = {
        "carrier": f"airline: {context.carrier}",
        "origin": f"from {context.origin}",
        "dest": f"to {airport_name(context.dest, names)}",
    }[name]
    return f"{text}, new to the model" if unseen else text


def _sentence(name: str) -> Sentence:
    if matched := WINDOW.fullmatch(name):
        event, group, hours, kind = matched.groups()
        return lambda value, context: _window(
            kind, value, context, _flights_of(event, group, context), _last(int(hours))
        )
    if matched := TIMETABLE.fullmatch(name):
        group, minutes = matched.groups()
        return lambda value, context: (
            f"{_count(value, _scheduled(group, context))} scheduled within {span(int(minutes))}, this one included"
        )
    if matched := RECORD.fullmatch(name):
        days, kind = matched.groups()
        return lambda value, context: _record(kind, value, context, f"the last {days} days")
    return SENTENCES[name]


def _subject(name: str, context: Context) -> str:
    """What is unknown, if a feature has no value."""
    if matched := WINDOW.fullmatch(name):
        event, group, hours, kind = matched.groups()
        return f"{WHAT[kind]} {_flights_of(event, group, context)} in {_last(int(hours))}"
    if matched := RECORD.fullmatch(name):
        return f"{WHAT[matched[2]]} {context.number} in the last {matched[1]} days"
    if matched := TIMETABLE.fullmatch(name):
        return f"how many {_scheduled(matched[1], context)} are scheduled at about the same time"
    return SUBJECTS.get(name, "the timetable").format(**context._asdict())


def _flights_of(event: str, group: str, context: Context) -> str:
    if event == "departures":
        return {
            "origin": f"departures from {context.origin}",
            "origin_carrier": f"{context.carrier} departures from {context.origin}",
            "all": "departures from New York",
        }[group]
    return {
        "dest": f"arrivals at {context.dest} from New York",
        "origin": f"arrivals of flights from {context.origin}",
        "carrier": f"{context.carrier} arrivals from New York",
        "all": "arrivals from New York",
        "origin_carrier": f"{context.carrier} arrivals from {context.origin}",
        "route": f"arrivals at {context.dest} from {context.origin}",
        "dest_carrier": f"{context.carrier} arrivals at {context.dest} from New York",
    }[group]


def _scheduled(group: str, context: Context) -> str:
    return {
        "origin": f"departures from {context.origin}",
        "origin_carrier": f"{context.carrier} departures from {context.origin}",
        "dest": f"departures for {context.dest}",
    }[group]


def _window(kind: str, value: float, context: Context, flights: str, last: str) -> str:
    if kind == "count":
        return f"{_count(value, flights)} in {last}"
    if kind == "late":
        return f"{_percent(value)} of the {flights} in {last} were {context.question.terms['span']} late or more"
    if kind == "lost":
        return f"{flights} in {last} {_lost(value)} en route, on average"
    return f"{flights} in {last} were {_off_schedule(value)} on average"


def _lost(minutes: float) -> str:
    """
    >>> _lost(7.6), _lost(-4), _lost(0.2)
    ('lost 8 minutes', 'made up 4 minutes', 'lost no time')
    """
    whole = round(abs(minutes))
    return f"{'lost' if minutes > 0 else 'made up'} {_minutes(whole)}" if whole else "lost no time"


def _record(kind: str, value: float, context: Context, last: str) -> str:
    """What is known of this flight number on its route; delays are compared with those of all flights from New York."""
    if kind == "count":
        landed = f"landed {_times(value)}" if value else "not landed"
        return f"{context.number} has {landed} at {context.dest} from {context.origin} in {last}"
    if kind == "late":
        points = round(abs(100 * value))
        measure, distance = "late share", f"{points} percentage point{'' if points == 1 else 's'}" if points else ""
    else:
        minutes = round(abs(value))
        measure, distance = "mean delay", _minutes(minutes) if minutes else ""
    compared = f" {distance} {'above' if value > 0 else 'below'}" if distance else ""
    return f"the {measure} of {context.number} in {last} was{compared} that of all flights from New York"


def _times(count: float) -> str:
    """
    >>> _times(1), _times(26)
    ('once', '26 times')
    """
    return "once" if round(count) == 1 else f"{count:,.0f} times"


def _last(hours: int) -> str:
    return "the last hour" if hours == 1 else f"the last {hours} hours"


def _count(value: float, flights: str) -> str:
    """
    >>> _count(0, "departures from JFK"), _count(1, "JetBlue Airways arrivals"), _count(38, "departures from JFK")
    ('no departures from JFK', '1 JetBlue Airways arrival', '38 departures from JFK')
    """
    if value == 1:
        return f"1 {flights.replace('departures', 'departure').replace('arrivals', 'arrival')}"
    return f"{value:,.0f} {flights}" if value else f"no {flights}"


def _off_schedule(minutes: float) -> str:
    """
    >>> _off_schedule(23.4), _off_schedule(-4), _off_schedule(0.2)
    ('23 minutes late', '4 minutes early', 'on time')
    """
    whole = round(abs(minutes))
    return f"{_minutes(whole)} {'late' if minutes > 0 else 'early'}" if whole else "on time"


def _minutes(count: float) -> str:
    return f"{count:,.0f} minute{'' if round(count) == 1 else 's'}"


def _duration(minutes: float) -> str:
    """
    >>> _duration(45), _duration(60), _duration(400)
    ('45 min', '1 h', '6 h 40 min')
    """
    hours, rest = divmod(round(minutes), 60)
    return " ".join(([f"{hours} h"] if hours else []) + ([f"{rest} min"] if rest or not hours else []))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _number(value: float, digits: int = 0) -> str:
    shown = f"{value:,.{digits}f}"
    return shown.rstrip("0").rstrip(".") if digits else shown


def _clock(minute: float) -> str:
    return f"{int(minute) // 60:02d}:{int(minute) % 60:02d}"


def _holiday(days: float, _: Context) -> str:
    if days == 0:
        return "leaves on a US federal holiday"
    if days >= MOST_DAYS_TO_HOLIDAY:
        return "no US federal holiday within six days"
    return f"{days:.0f} day{'' if days == 1 else 's'} from a US federal holiday"


def _spare(what: str, lacking: str) -> Sentence:
    return lambda value, _: f"{what} {_minutes(value)} to spare" if value >= 0 else lacking.format(_minutes(-value))


def _change(what: str, unit: str) -> Sentence:
    def sentence(value: float, context: Context) -> str:
        amount = _number(abs(value), 1)
        change = "unchanged" if amount == "0" else f"{'up' if value > 0 else 'down'} {amount} {unit}"
        return f"{what} at {context.origin}: {change} in 3 hours"

    return sentence


def _rain(when: str) -> Sentence:
    return lambda value, context: (
        f"{_number(value, 2)} inches of rain or snow at {context.origin} in {when}"
        if value
        else f"no rain or snow at {context.origin} in {when}"
    )


def _wind_from(ahead: str, behind: str) -> Sentence:
    def sentence(value: float, context: Context) -> str:
        speed = _number(abs(value))
        if speed == "0":
            return f"no wind from {ahead} or {behind} at {context.origin}"
        return f"wind at {context.origin}: {speed} mph of it from the {ahead if value > 0 else behind}"

    return sentence


def _overdue_share(flights: str) -> Sentence:
    def sentence(value: float, context: Context) -> str:
        scheduled = f"{flights.format(**context._asdict())} scheduled in the last 3 hours"
        whole = {"0 %": f"all {scheduled} have left", "100 %": f"none of the {scheduled} have left"}
        return whole.get(_percent(value), f"{_percent(value)} of the {scheduled} have not left")

    return sentence


def _overdue_wait(flights: str) -> Sentence:
    return lambda value, context: (
        f"{flights.format(**context._asdict())} scheduled in the last 3 hours have waited {_minutes(value)} on average"
    )


def _last_seen(what: str) -> Sentence:
    return lambda value, _: f"{what} {_off_schedule(value)}"


LEG = "the aircraft's previous flight out of New York"
FROM_ORIGIN, OF_CARRIER = "departures from {origin}", "{carrier} departures from {origin}"
SENTENCES: Mapping[str, Sentence] = {
    "departure_minute": lambda value, _: f"leaves at {_clock(value)}",
    "arrival_minute": lambda value, _: f"lands at {_clock(value)}, New York time",
    "weekday": lambda value, _: f"leaves on a {WEEKDAYS[int(value)]}",
    "days_to_holiday": _holiday,
    "distance_miles": lambda value, context: f"{_number(value)} miles to {context.dest}",
    "elapsed_minutes": lambda value, _: f"{_duration(value)} from gate to gate by the timetable",
    "slack_minutes": _spare("the timetable leaves", "the timetable is {} short"),
    "plane_age_years": lambda value, _: f"the aircraft is {_number(value)} year{'' if value == 1 else 's'} old",
    "plane_seats": lambda value, _: f"the aircraft has {_number(value)} seats",
    "plane_engines": lambda value, _: f"the aircraft has {_number(value)} engine{'' if value == 1 else 's'}",
    "temp_f": lambda value, context: f"temperature at {context.origin}: {_number(value)} °F",
    "dewp_f": lambda value, context: f"dew point at {context.origin}: {_number(value)} °F",
    "humid_percent": lambda value, context: f"humidity at {context.origin}: {_number(value)} %",
    "wind_speed_mph": lambda value, context: f"wind at {context.origin}: {_number(value)} mph",
    "wind_gust_mph": lambda value, context: (
        f"no gusts known at {context.origin}" if np.isnan(value) else f"gusts at {context.origin}: {_number(value)} mph"
    ),
    "wind_direction_degrees": lambda value, context: (
        f"wind at {context.origin} from the {COMPASS[round(value / 45) % len(COMPASS)]}"
    ),
    "wind_from_east_mph": _wind_from("east", "west"),
    "wind_from_north_mph": _wind_from("north", "south"),
    "precip_inches": _rain("the last observed hour"),
    "pressure_mb": lambda value, context: f"air pressure at {context.origin}: {_number(value)} mbar",
    "visib_miles": lambda value, context: (
        f"visibility at {context.origin}: {_number(value, 1)} mile{'' if value == 1 else 's'}"
    ),
    "temp_change_3h_f": _change("temperature", "°F"),
    "pressure_change_3h_mb": _change("air pressure", "mbar"),
    "precip_3h_inches": _rain("the last 3 observed hours"),
    "weather_age_hours": lambda value, context: (
        f"the last weather report of {context.origin} is {_duration(60 * value)} old"
    ),
    "overdue_origin_share": _overdue_share(FROM_ORIGIN),
    "overdue_origin_wait": _overdue_wait(FROM_ORIGIN),
    "overdue_origin_carrier_share": _overdue_share(OF_CARRIER),
    "overdue_origin_carrier_wait": _overdue_wait(OF_CARRIER),
    "aircraft_departure_delay": _last_seen("the aircraft last left New York"),
    "aircraft_departure_age": lambda value, _: f"the aircraft last left New York {_duration(value)} before",
    "aircraft_arrival_delay": _last_seen("the aircraft's last flight from New York landed"),
    "aircraft_arrival_age": lambda value, _: (
        f"the aircraft's last flight from New York landed {_duration(value)} before"
    ),
    "turnaround_minutes": lambda value, _: f"{LEG} is scheduled {_duration(value)} before this one",
    "previous_leg_status": lambda value, _: f"{LEG} {LEG_STATES[int(value)]}",
    "return_slack_scheduled": _spare(
        "by the timetable the aircraft is back with", "by the timetable the aircraft is back {} too late"
    ),
    "return_slack_expected": _spare(
        "with its delay the aircraft is back with", "with its delay the aircraft is back {} too late"
    ),
}
WHAT = {
    "count": "the number of", "late": "the late share of", "delay": "the mean delay of",
    "lost": "the time lost on the way by",
}  # fmt: skip
HAS_TEXT_FOR_NAN = {"wind_gust_mph"}  # no gust is known
SUBJECTS: Mapping[str, str] = {
    "plane_age_years": "the age of the aircraft",
    "plane_seats": "the seats of the aircraft",
    "plane_engines": "the engines of the aircraft",
    "temp_f": "the temperature at {origin}",
    "dewp_f": "the dew point at {origin}",
    "humid_percent": "the humidity at {origin}",
    "wind_speed_mph": "the wind at {origin}",
    "wind_direction_degrees": "where the wind at {origin} comes from",
    "wind_from_east_mph": "where the wind at {origin} comes from",
    "wind_from_north_mph": "where the wind at {origin} comes from",
    "precip_inches": "rain or snow at {origin}",
    "pressure_mb": "the air pressure at {origin}",
    "visib_miles": "the visibility at {origin}",
    "temp_change_3h_f": "how the temperature at {origin} has changed",
    "pressure_change_3h_mb": "how the air pressure at {origin} has changed",
    "precip_3h_inches": "rain or snow at {origin} in the last 3 hours",
    "weather_age_hours": "the weather at {origin}",
    "overdue_origin_share": "how many flights wait at {origin}",
    "overdue_origin_wait": "how long flights wait at {origin}",
    "overdue_origin_carrier_share": "how many {carrier} flights wait at {origin}",
    "overdue_origin_carrier_wait": "how long {carrier} flights wait at {origin}",
    "aircraft_departure_delay": "how late the aircraft last left New York",
    "aircraft_departure_age": "when the aircraft last left New York",
    "aircraft_arrival_delay": "how late the aircraft's last flight from New York landed",
    "aircraft_arrival_age": "when the aircraft's last flight from New York landed",
    "turnaround_minutes": LEG,
    "previous_leg_status": f"where {LEG} is",
    "return_slack_scheduled": "when the aircraft is back by the timetable",
    "return_slack_expected": "when the aircraft is back",
}
