"""All user-facing text about flights: pages, API, model card, reports."""

from datetime import datetime
from zoneinfo import ZoneInfo

from ontime.declaration import Described, Names, Question, Words, span
from ontime.problem.reasons import airport_name
from ontime.problem.request import CLOCK, Flight

NEW_YORK = ZoneInfo(CLOCK)

WORDS = Words(
    entity="flight",
    entities="flights",
    positive="late",
    negative="on time",
    is_positive="arrives late",
    are_positive="arrive late",
    question="arriving {span} late or more, asked {lead} before the scheduled departure",
    definition="Late means {span} or more after the scheduled arrival.",
    event="scheduled departure",
    value="actual minus scheduled arrival; below zero: early",
    title="Will the flight arrive on time?",
    invitation="Choose a flight out of New York. The model says how likely it is to arrive late, by {span} or more, "
    "from what was known {lead} before its scheduled departure.",
    footer="All times are New York time. Flights from Newark, Kennedy and LaGuardia to airports in the United States.",
    day="is the day before Thanksgiving",
    population="every flight out of New York (EWR, JFK, LGA)",
    who_alerts="a travel desk",
    request_only="Nothing is known about this flight but its timetable: no weather, no recent delays, no aircraft.",
    with_only_request="with such a timetable",
    store_unavailable="The database of recent delays and weather did not answer.",
    communities="Flights are not people, and no slice is a protected group. But slices stand for communities: an "
    "airline for the regions it serves and for its fares, a short distance for smaller cities, an early hour for those "
    "who need the whole day at the other end.",
    limits=(
        "Cancelled and diverted flights have no label, so the model does not predict cancellation.",
        "One year of three airports, and only flights within the United States. Another year, airport or airline is "
        "another distribution.",
        "Weather is the last observation, never a forecast.",
    ),
    intended="a travel desk deciding whom to rebook, teaching, and as a pattern for other data.",
    not_intended="safety or dispatch decisions, blaming an airline or a crew, flights from elsewhere",
    without_label="cancelled and diverted flights",
    families={
        "schedule": "the timetable of the flight",
        "congestion": "how many flights are scheduled at the same time",
        "plane": "the aircraft's age and size",
        "weather": "the weather at the origin",
        "wind": "where the wind at the origin comes from",
        "operations": "delays of the flights before it",
        "en_route": "time that flights lost on the way, and delays on this route",
        "record": "how late this flight number was in the weeks before",
        "rotation": "where the aircraft is",
    },
    of_the_day="An aircraft that is late carries its delay into its next flight, which is why operations known at the "
    "moment carry most of the signal.",
    of_the_missing="Actual times are missing for flights that never left or never arrived, gusts where none is known.",
)


def describe(flight: Flight, names: Names) -> Described:
    """A flight as a timetable shows it, in New York time."""
    leaves, arrives = (each.astimezone(NEW_YORK) for each in (flight.scheduled_departure, flight.scheduled_arrival))
    carrier = names.get("carrier", {}).get(flight.carrier, flight.carrier)
    next_day = " the next day" if arrives.date() > leaves.date() else ""
    return Described(
        title=f"{flight.carrier} {flight.flight_number}",
        subtitle=f"{flight.origin} to {flight.dest}",
        details=f"{carrier} to {airport_name(flight.dest, names)}, {_day(leaves)}. Leaves {leaves:%H:%M}, arrives "
        f"{arrives:%H:%M}{next_day}, New York time. {flight.distance_miles:,} miles.",
        note=f"{carrier}, {airport_name(flight.dest, names)}",
    )


def _day(moment: datetime) -> str:
    return f"{moment:%A} {moment.day} {moment:%B %Y}"


def outcome(late: bool, delay: float | None, question: Question) -> str:
    """The outcome of a flight, in a sentence.

    >>> outcome(False, 7, Question(15, 120))
    'Arrived 7 minutes late. That counts as on time: late begins at 15 minutes.'
    >>> outcome(True, None, Question(15, 120)), outcome(False, -60, Question(15, 120))
    ('Arrived late, by 15 minutes or more.', 'Arrived 1 hour early.')
    """
    limit = question.terms["span"]
    if delay is None:
        return f"Arrived late, by {limit} or more." if late else f"Arrived on time, or less than {limit} late."
    if delay == 0:
        return "Arrived on time, to the minute."
    off = f"Arrived {span(abs(delay))} {'late' if delay > 0 else 'early'}."
    return f"{off} That counts as on time: late begins at {limit}." if delay > 0 and not late else off
