"""Known errors in the data of flights: each rule repairs, quarantines or notes the rows that have one."""

import pandas as pd

from ontime.checks import null, without
from ontime.datasets import Rule, Tables
from ontime.problem.request import CLOCK
from ontime.problem.rules import CARRIERS, DAY_MINUTES, agrees, elapsed_minutes
from ontime.problem.sources import TERRITORY_AIRPORTS, TERRITORY_ZONE, minutes_of_day

FLOWN = ("departed_at", "arrived_at", "dep_delay_minutes", "arr_delay_minutes", "air_minutes", "dep_hhmm", "arr_hhmm")


def _impossible_rotation(tables: Tables) -> pd.Series:
    """Departures of an aircraft before it could have flown its previous leg there and back."""
    flown = tables["flights"].dropna(subset=["departed_at", "tailnum"]).sort_values(["tailnum", "departed_at"])
    previous = flown.groupby("tailnum")[["departed_at", "air_minutes"]].shift()
    gap = (flown["departed_at"] - previous["departed_at"]).dt.total_seconds() / 60
    return (gap < 2 * previous["air_minutes"]).reindex(tables["flights"].index, fill_value=False)


def _far_from_the_other_airports(tables: Tables) -> pd.Series:
    """Temperatures over 25 F off the median of the three airports, which are 20 miles apart at most: broken sensors."""
    weather = tables["weather"]
    return (weather["temp_f"] - weather.groupby("hour")["temp_f"].transform("median")).abs() > 25


def _off_across_a_clock_change(tables: Tables) -> pd.Series:
    """Departures with a delay across a clock change that is a difference of clock times, not of time."""
    flights = tables["flights"]
    changed = _utc_offset(flights["scheduled_departure"]) != _utc_offset(flights["departed_at"])
    if not changed.any():  # as on all days but two of a year; a stream evaluates this all the time
        return changed
    # If the scheduled time disagrees with the clock too, the time zone is wrong, not the delay.
    schedule_agrees = agrees(flights["scheduled_departure"], flights["sched_dep_hhmm"], CLOCK)
    return changed & schedule_agrees & ~agrees(flights["departed_at"], flights["dep_hhmm"], CLOCK)


def _utc_offset(moments: pd.Series) -> pd.Series:
    """The UTC offset of New York."""
    return moments.dt.tz_convert(CLOCK).dt.tz_localize(None) - moments.dt.tz_localize(None)


def _arrives_before_it_leaves(tables: Tables) -> pd.Series:
    """Scheduled arrivals in the hour before the departure, by local clocks: impossible for these flights and zones."""
    flights = tables["flights"]
    early = minutes_of_day(flights["sched_dep_hhmm"]) - minutes_of_day(flights["sched_arr_hhmm"])
    return early.between(0, 60, inclusive="left")


def _with_territories(tables: Tables, _: pd.Series) -> Tables:
    codes = tables["airports"]["airport"]
    missing = sorted({*TERRITORY_AIRPORTS} - {*codes[codes.isin([*TERRITORY_AIRPORTS])]})
    names = [TERRITORY_AIRPORTS[code] for code in missing]
    added = pd.DataFrame({"airport": missing, "name": names, "zone": TERRITORY_ZONE})
    return {**tables, "airports": pd.concat([tables["airports"], added], ignore_index=True)}


KNOWN_ERRORS: tuple[Rule, ...] = (
    Rule("cancelled", "flights", "departed_at", "noted",
         "never left: no label, but part of the timetable, and overdue",
         lambda t: t["flights"]["departed_at"].isna()),
    Rule("departed_without_arrival_delay", "flights", "arr_delay_minutes", "noted",
         "diverted or not reported: no label, but its departure is known",
         lambda t: t["flights"]["departed_at"].notna() & t["flights"]["arr_delay_minutes"].isna()),
    Rule("landed_without_arrival_delay", "flights", "arr_hhmm", "noted",
         "those of them that have an arrival time nevertheless",
         lambda t: t["flights"]["arr_hhmm"].notna() & t["flights"]["arr_delay_minutes"].isna()),
    Rule("no_tail_number", "flights", "tailnum", "noted",
         "all cancelled: a perfect leak if cancellation were in the label", null("flights", "tailnum")),
    Rule("no_plane_record", "flights", "tailnum", "noted",
         "its plane features stay empty", without("flights", "tailnum", "planes", "tailnum")),
    Rule("departure_at_2400", "flights", "dep_hhmm", "noted",
         "read as the midnight that ends the day", lambda t: t["flights"]["dep_hhmm"] == 2400),
    Rule("arrival_at_2400", "flights", "arr_hhmm", "noted",
         "read as the midnight that ends the day", lambda t: t["flights"]["arr_hhmm"] == 2400),
    Rule("arrives_after_midnight", "flights", "sched_arr_hhmm", "noted",
         "its arrival is put on the next day",
         lambda t: t["flights"]["sched_arr_hhmm"] < t["flights"]["sched_dep_hhmm"]),
    Rule("elapsed_below_air_time", "flights", "air_minutes", "noted",
         "slack that was used up: legitimate", lambda t: elapsed_minutes(t["flights"]) < t["flights"]["air_minutes"]),
    Rule("impossible_rotation", "flights", "tailnum", "noted",
         "the aircraft cannot have been back: its tail number is wrong, which was not known in time",
         _impossible_rotation),
    Rule("off_across_a_clock_change", "flights", "departed_at", "repaired",
         "emptied: its delay is a difference of clock times across a clock change. The row stays, because it was part "
         "of the timetable",
         _off_across_a_clock_change, emptied=FLOWN),
    Rule("arrives_before_it_leaves", "flights", "sched_arr_hhmm", "quarantined",
         "its timetable is wrong, so its delay is unknown", _arrives_before_it_leaves),
    Rule("a_day_late", "flights", "arr_delay_minutes", "noted",
         "a day or more: rare and true, its arrival time agrees",
         lambda t: t["flights"]["arr_delay_minutes"] >= DAY_MINUTES),
    Rule("unseen_carrier", "flights", "carrier", "noted",
         "not an airline of 2013: to a model of that year it is an unknown category",
         lambda t: ~t["flights"]["carrier"].isin(CARRIERS)),
    Rule("destination_without_airport", "flights", "dest", "repaired",
         "Puerto Rico and the Virgin Islands are added to airports, with their time zone",
         without("flights", "dest", "airports", "airport"), repair=_with_territories),
    Rule("wind_of_a_thousand_mph", "weather", "wind_speed_mph", "repaired",
         "emptied: the strongest surface wind ever measured is 253 mph",
         lambda t: t["weather"]["wind_speed_mph"] > 253, emptied=("wind_speed_mph", "wind_gust_mph")),
    Rule("temperature_off_its_neighbours", "weather", "temp_f", "repaired",
         "emptied, with the dew point of the same reading: 25 F or more off the median of the three airports",
         _far_from_the_other_airports, emptied=("temp_f", "dewp_f")),
    Rule("repeated_observation", "weather", "hour", "quarantined",
         "a second row of an airport and UTC hour; the first is kept",
         lambda t: t["weather"].duplicated(["origin", "hour"])),
    Rule("doubled_local_hour", "weather", "local_hour", "noted",
         "the autumn clock change repeats a local hour; joins on UTC are not affected",
         lambda t: t["weather"].duplicated(["origin", "local_hour"], keep=False)),
    Rule("no_gust", "weather", "wind_gust_mph", "noted", "no gust is known", null("weather", "wind_gust_mph")),
    Rule("no_precipitation", "weather", "precip_inches", "noted",
         "left empty: in 2023 what fell in the hour is not known", null("weather", "precip_inches")),
    Rule("no_pressure", "weather", "pressure_mb", "noted", "left empty", null("weather", "pressure_mb")),
    Rule("no_build_year", "planes", "built_year", "noted", "left empty", null("planes", "built_year")),
)  # fmt: skip
