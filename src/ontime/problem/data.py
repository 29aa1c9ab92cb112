"""Declares the data of flights: datasets, tables with their availability and contracts, known errors."""

from datetime import timedelta
from pathlib import Path

from ontime.availability import Observed, Scheduled, Static
from ontime.datasets import Data, DayColumn, Table, Tables
from ontime.declaration import Names
from ontime.problem import features, known_errors, rules
from ontime.problem.sources import DATASETS, TERRITORY_AIRPORTS, TIMETABLE_AHEAD

COMPANY = r" (Inc\.|Co\.|Corporation)$"  # not part of an airline's name in speech


def names(tables: Tables) -> Names:
    """The names of the airlines and airports in the timetable."""
    flights, airlines, airports = tables["flights"], tables["airlines"], tables["airports"]
    airport_names = dict(zip(airports["airport"], airports["name"], strict=True)) | TERRITORY_AIRPORTS
    carriers = zip(airlines["carrier"], airlines["name"].str.replace(COMPANY, "", regex=True), strict=True)
    served = {end: sorted({*flights[end]} & airport_names.keys()) for end in ("origin", "dest")}
    return {"carrier": dict(sorted(carriers))} | {
        end: {code: airport_names[code] for code in codes} for end, codes in served.items()
    }


DATA = Data(
    datasets=DATASETS,
    entities="flights",
    tables=(
        Table(
            "flights",
            moment="scheduled_departure",
            # A new column of the flights is hidden until the flight has ended, unless it is named here.
            availability=Scheduled(
                at="scheduled_departure",
                ahead=TIMETABLE_AHEAD,
                planned=(
                    "entity_id", "carrier", "flight_number", "origin", "dest", "distance_miles",
                    "scheduled_departure", "scheduled_arrival", "sched_dep_hhmm", "sched_arr_hhmm",
                    "tailnum",  # of the aircraft that actually flew; in production it may still change
                ),
                events={"departed_at": ("dep_delay_minutes", "dep_hhmm")},
                end="arrived_at",
                due="scheduled_arrival",
                final_after=timedelta(days=1),  # a flight that has not arrived by then was cancelled or diverted
            ),
            contract=rules.flights_contract,
            rules=rules.FLIGHTS_RULES,
            measured=("distance_miles", "dep_delay_minutes", "arr_delay_minutes", "air_minutes"),
        ),
        Table(
            "weather",
            moment="hour",
            availability=Observed("known_at"),
            contract=rules.weather_contract,
            rules=rules.WEATHER_RULES,
            measured=tuple(rules.WEATHER_LIMITS),
        ),
        Table("planes", availability=Static(), contract=lambda _: rules.PLANES,
              measured=("built_year", "engines", "seats")),
        Table("airports", availability=Static(), contract=lambda _: rules.AIRPORTS),
        Table("airlines", availability=Static(), contract=lambda _: rules.AIRLINES),
    ),
    online_features=features.online_features,
    known_errors=known_errors.KNOWN_ERRORS,
    halo=timedelta(days=4),  # to an aircraft's previous leg: two days late at most, and 40 hours there and back
    profile=Path(__file__).with_name("profile.json"),  # of 2013
    names=names,
    counts={"weather_hours_missing": rules.weather_hours_missing},
    drift_of={
        "flights": ("dep_delay_minutes", "arr_delay_minutes", "distance_miles", "carrier", "origin", "dest"),
        "weather": ("temp_f", "wind_speed_mph", "visib_miles", "pressure_mb"),
    },
    day_columns=(
        DayColumn("wind", "weather", "wind_speed_mph", "mean", "mph", high="strong wind", low="light wind"),
        DayColumn("visibility", "weather", "visib_miles", "mean", "miles", high="clear air", low="poor visibility"),
        DayColumn("flights", "flights", "entity_id", "count", "a day", high="many flights", low="few flights"),
        DayColumn("arrival delay", "flights", "arr_delay_minutes", "mean", "minutes",
                  high="long delays", low="short delays"),
    ),
)  # fmt: skip
