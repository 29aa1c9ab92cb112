"""What has arrived by a moment holds nothing of what comes later, and a broken day's batch stops nobody else."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from ontime import contract, schema, sources
from ontime.availability import Scheduled
from ontime.contract import ContractBroken
from ontime.datasets import Data, Tables
from ontime.params import Params
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from pipelines.operations import arrivals, materialise
from pipelines.operations.arrivals import Arrived
from tests.futures import with_another_future

FIRST = datetime(2013, 1, 3, tzinfo=UTC)
MINUTES_OF_THE_YEAR = 362 * 24 * 60
MOMENTS = [
    datetime(2013, 2, 9, 1, 0, tzinfo=UTC),  # a blizzard: departures stop, a thousand flights are cancelled
    datetime(2013, 3, 10, 6, 59, tzinfo=UTC),  # the last minute before New York's clock skips an hour
    datetime(2013, 3, 10, 7, 0, tzinfo=UTC),
    datetime(2013, 11, 3, 5, 30, tzinfo=UTC),  # half past one, for the first time
    datetime(2013, 11, 3, 6, 30, tzinfo=UTC),  # half past one again
    datetime(2013, 7, 2, 4, 0, tzinfo=UTC),  # midnight in New York
    datetime(2013, 7, 2, 3, 59, tzinfo=UTC),
    datetime(2013, 7, 10, 16, 51, tzinfo=UTC),
]


def around(tables: Tables, moment: datetime) -> Tables:
    """Enough of the year to hide something in, so that a test takes no second."""
    return sources.cut(tables, moment - timedelta(days=4), moment + timedelta(days=4))


def assert_same(tables: Tables, others: Tables) -> None:
    assert tables.keys() == others.keys()
    for name, table in tables.items():
        assert_frame_equal(table, others[name])


@pytest.mark.parametrize("moment", MOMENTS)
def test_another_future_is_the_same_present(moment: datetime, raw: Tables) -> None:
    real = around(raw, moment)
    other = with_another_future(real, moment)
    assert not other["flights"].equals(real["flights"])
    assert not other["weather"].equals(real["weather"])

    assert_same(sources.as_of(other, moment), sources.as_of(real, moment))


def test_a_column_that_nobody_has_declared_is_hidden_until_its_flight_has_ended(raw: Tables) -> None:
    moment = MOMENTS[-1]
    real = around(raw, moment)
    added = {
        **real,
        "flights": real["flights"].assign(gates=1, gate="A1", moved=True, told_at=real["flights"]["arrived_at"]),
    }

    seen = sources.as_of(added, moment)

    assert_same(sources.as_of(with_another_future(added, moment), moment), seen)
    hidden = ~(real["flights"]["arrived_at"] <= moment) & (
        real["flights"]["scheduled_arrival"] > moment - timedelta(days=1)
    )
    for name in ("gates", "gate", "moved"):
        assert (seen["flights"][name].isna() == hidden.loc[seen["flights"].index]).all()


def test_a_table_that_does_not_say_when_it_is_known_is_refused(raw: Tables) -> None:
    with pytest.raises(sources.NotDeclared, match=r"does not declare notices: add a Table, known all along \(Static"):
        sources.as_of({**raw, "notices": raw["weather"]}, MOMENTS[0])


@settings(max_examples=25, deadline=None)
@given(minute=st.integers(0, MINUTES_OF_THE_YEAR))
def test_at_no_minute_of_the_year_does_the_future_show(minute: int, raw: Tables) -> None:
    moment = FIRST + timedelta(minutes=minute)
    real = around(raw, moment)

    assert_same(sources.as_of(with_another_future(real, moment), moment), sources.as_of(real, moment))


@pytest.mark.parametrize("table", ["flights", "weather"])
def test_a_future_that_begins_too_early_does_show(table: str, raw: Tables) -> None:
    """Or the tests above would say nothing."""
    moment = MOMENTS[-1]
    real = around(raw, moment)
    planted = with_another_future(real, moment - timedelta(hours=1))

    seen, other = (sources.as_of(tables, moment)[table] for tables in (real, planted))

    assert not other.equals(seen)


def test_what_has_happened_is_seen_as_it_was(raw: Tables) -> None:
    """Hiding everything would pass as well."""
    moment = MOMENTS[-1]

    seen = sources.as_of(around(raw, moment), moment)

    flights = raw["flights"].loc[seen["flights"].index]
    landed = flights["arrived_at"] <= moment
    assert landed.sum() > 3000
    assert_frame_equal(seen["flights"][landed], flights[landed])
    assert seen["flights"]["scheduled_departure"].max() > moment + timedelta(hours=23)
    assert seen["weather"]["known_at"].max() > moment - timedelta(hours=1)


def flight_without_arrival(raw: Tables) -> pd.DataFrame:
    """One of those that have an arrival time on the clock and no delay: a diversion that is told when it is over."""
    flights = raw["flights"]
    return flights[flights["arr_hhmm"].notna() & flights["arr_delay_minutes"].isna()].head(1)


@pytest.mark.parametrize(("minutes", "told"), [(-1, False), (0, True)])
def test_that_a_flight_never_arrived_is_final_a_day_after_it_should_have(minutes: int, told: bool, raw: Tables) -> None:
    diverted = flight_without_arrival(raw)
    final = (diverted["scheduled_arrival"].iloc[0] + pd.Timedelta(days=1, minutes=minutes)).to_pydatetime()

    seen = sources.as_of({**raw, "flights": diverted}, final)["flights"]

    assert seen["arr_hhmm"].notna().tolist() == [told]


@pytest.fixture
def ingested(raw: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The feed's folder with June, July and August, two days of each."""
    for month in ("2013-06", "2013-07", "2013-08"):
        begin = datetime.fromisoformat(f"{month}-10T04:00:00+00:00")
        part = sources.cut(raw, begin, begin + timedelta(days=2))
        for name in ("flights", "weather"):
            (tmp_path / name).mkdir(exist_ok=True)
            part[name].to_parquet(tmp_path / name / f"{month}.parquet")
    for name in ("planes", "airports", "airlines"):
        raw[name].to_parquet(tmp_path / f"{name}.parquet")
    monkeypatch.setattr(arrivals, "INGESTED", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        ("2013-07-05T00:00Z", "2013-07-12T00:00Z", ["2013-07"]),
        ("2013-06-28T00:00Z", "2013-07-12T00:00Z", ["2013-06", "2013-07"]),
        ("2013-07-01T03:59Z", "2013-07-12T00:00Z", ["2013-06", "2013-07"]),  # a minute to midnight in New York
        ("2013-07-01T04:00Z", "2013-07-12T00:00Z", ["2013-07"]),
        ("2013-07-05T00:00Z", "2013-08-01T04:00Z", ["2013-07", "2013-08"]),
        ("2013-05-30T00:00Z", "2013-06-20T00:00Z", ["2013-06"]),
    ],
)
@pytest.mark.usefixtures("ingested")
def test_the_feed_reads_the_months_it_needs(start: str, end: str, months: list[str]) -> None:
    found = arrivals.near(datetime.fromisoformat(start), datetime.fromisoformat(end))

    for moments in (found["flights"]["scheduled_departure"], found["weather"]["hour"]):
        assert sorted(set(sources.month_of(moments))) == months


@pytest.mark.usefixtures("ingested")
def test_a_feed_that_has_nothing_of_that_time_is_refused() -> None:
    with pytest.raises(FileNotFoundError, match="flights has nothing from 2014-01 to 2014-01"):
        arrivals.near(datetime(2014, 1, 5, tzinfo=UTC), datetime(2014, 1, 8, tzinfo=UTC))


def feed_of(tables: Tables) -> arrivals.Feed:
    return lambda start, end: sources.cut(tables, start, end)


def in_steps(raw: Tables, start: datetime, end: datetime, minutes: int, params: Params) -> pd.DataFrame:
    """The features of the moments in [start, end), each step with nothing but what was known at its end."""
    built, since = [], start
    feed = feed_of(sources.cut(raw, start - timedelta(days=8), end + timedelta(days=4)))
    while since < end:
        now = since + timedelta(minutes=minutes)
        arrived = arrivals.by(now, since, feed, params)
        built.append(materialise.features_between(arrived, since, now, params))
        since = now
    return pd.concat([step for step in built if len(step)], ignore_index=True)


@pytest.mark.parametrize(
    ("begin", "hours", "minutes"),
    [
        ("2013-02-08 14:00", 4, 15),  # the blizzard begins
        ("2013-03-10", 24, 180),
        ("2013-11-03", 24, 180),
        ("2013-06-30", 24, 180),
        ("2013-12-31", 24, 360),
    ],
)
def test_features_made_as_the_day_goes_on_equal_those_made_of_the_whole_year(
    begin: str, hours: int, minutes: int, raw: Tables, tables: Tables, params: Params
) -> None:
    """Bit for bit: what is served is what the model was trained on."""
    start = pd.Timestamp(begin, tz=schema.ZONE).tz_convert("UTC").to_pydatetime()
    end = start + timedelta(hours=hours)

    online = in_steps(raw, start, end, minutes, params)

    at_once = materialise.features_between(Arrived(tables, ()), start, end, params)
    assert len(at_once) > 20 * hours
    assert_frame_equal(online, at_once, check_exact=True)


def planned(ahead: timedelta) -> Data:
    """The declared data, but for a timetable that is known so early."""
    flights = next(table for table in DATA.tables if table.name == "flights")
    assert isinstance(flights.known, Scheduled)
    known = replace(flights, known=replace(flights.known, ahead=ahead))
    return replace(DATA, tables=tuple(known if table is flights else table for table in DATA.tables))


def asked_before(params: Params, lead: timedelta) -> Params:
    asked = params.features.model_copy(update={"lead_minutes": lead // timedelta(minutes=1)})
    return params.model_copy(update={"features": asked})


def test_entities_that_are_asked_about_days_before_their_event_get_features(
    raw: Tables, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    since, lead = datetime(2013, 7, 10, 12, tzinfo=UTC), timedelta(days=5)
    now, early = since + timedelta(hours=1), asked_before(params, lead)
    for module in (arrivals, sources):
        monkeypatch.setattr(module, "DATA", planned(timedelta(days=8)))

    arrived = arrivals.by(now, since, feed_of(raw), early)
    built = materialise.features_between(arrived, since, now, early)

    departures = raw["flights"].set_index("entity_id")["scheduled_departure"]
    assert sorted(built["entity_id"]) == sorted(
        departures[(departures >= since + lead) & (departures < now + lead)].index
    )


def test_a_lead_before_anything_is_known_is_refused_by_name(raw: Tables, params: Params) -> None:
    early = asked_before(params, timedelta(days=5))

    with pytest.raises(
        sources.NotDeclared, match=r"lead_minutes asks 5 days.* before the event, .* flights is known 1 day"
    ):
        arrivals.by(NOW, NOW - timedelta(hours=6), feed_of(raw), early)


def test_outcomes_made_as_the_day_goes_on_equal_those_made_of_the_whole_year(
    raw: Tables, tables: Tables, params: Params
) -> None:
    start, end = datetime(2013, 2, 8, 12, tzinfo=UTC), datetime(2013, 2, 9, 12, tzinfo=UTC)
    feed, since = feed_of(raw), start
    online: dict[object, object] = {}
    while since < end:
        now = since + timedelta(hours=3)
        arrived = arrivals.by(now, since, feed, params)
        online |= {row["entity_id"]: row for row in materialise.new_outcomes(arrived, since, params)}
        since = now

    flights = tables["flights"]
    landed = flights[(flights["arrived_at"] >= start) & (flights["arrived_at"] <= end)]
    rows = materialise.outcomes_of(landed, params.label.at_least)
    assert len(rows) > 200
    assert online == {row["entity_id"]: row for row in rows}


def known_after(tables: Tables, days: int) -> Tables:
    """A day of flights of which nobody knows the outcome for so many days."""
    of_the_day = sources.cut(tables, datetime(2013, 2, 8, 12, tzinfo=UTC), datetime(2013, 2, 9, 12, tzinfo=UTC))
    flights = of_the_day["flights"]
    return {**of_the_day, "flights": flights.assign(arrived_at=flights["arrived_at"] + pd.Timedelta(days=days))}


def settling(params: Params, days: int) -> Params:
    return params.model_copy(update={"monitor": params.monitor.model_copy(update={"settle_days": days})})


def test_an_outcome_that_takes_two_weeks_is_stored(
    tables: Tables, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contract, "clean", lambda tables: (tables, {}))  # it refuses flights of two weeks
    taking, patient = known_after(tables, 14), settling(params, 14)
    since, now = datetime(2013, 2, 22, 18, tzinfo=UTC), datetime(2013, 2, 22, 21, tzinfo=UTC)

    arrived = arrivals.by(now, since, feed_of(taking), patient)
    rows = materialise.new_outcomes(arrived, since, patient)

    known = taking["flights"]["arrived_at"].between(since, now)
    assert known.sum() > 50
    assert len(rows) == len(materialise.outcomes_of(taking["flights"][known], params.label.at_least))


def test_outcomes_that_come_after_the_settling_days_are_refused_by_name(tables: Tables, params: Params) -> None:
    taking = known_after(tables, 14)["flights"]

    materialise.refuse_lost_outcomes(taking, settling(params, 14))
    with pytest.raises(Refusal, match=r"monitor\.settle_days 2: 100% of the outcomes are known more than 5 days"):
        materialise.refuse_lost_outcomes(taking, settling(params, 2))


DAY = date(2013, 7, 9)
NOW = datetime(2013, 7, 10, 16, 0, tzinfo=UTC)
Break = Callable[[Tables, pd.Series], pd.DataFrame]


def of_the_day(moments: pd.Series) -> pd.Series:
    """Whether each moment is on DAY in New York."""
    return moments.dt.tz_convert(schema.ZONE).dt.date == DAY


def an_hour_early(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    """Somebody read New York's time in another zone."""
    moved = tables["flights"]["scheduled_departure"] - pd.Timedelta(hours=1)
    return tables["flights"].assign(scheduled_departure=tables["flights"]["scheduled_departure"].mask(hit, moved))


def to_nowhere(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    return tables["flights"].assign(dest=tables["flights"]["dest"].mask(hit, "QQQ"))


def too_far(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    """Feet, or a number that means nothing."""
    return tables["flights"].assign(distance_miles=tables["flights"]["distance_miles"].mask(hit, 99_999))


def sent_twice(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    return pd.concat([tables["flights"], tables["flights"][hit]], ignore_index=True)


def in_inches_of_mercury(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    pressure = tables["weather"]["pressure_mb"]
    return tables["weather"].assign(pressure_mb=pressure.mask(hit, pressure * 0.02953))


def in_feet(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    visible = tables["weather"]["visib_miles"]
    return tables["weather"].assign(visib_miles=visible.mask(hit, visible * 5280))


BREAKS = [
    (an_hour_early, "flights", "flights: scheduled_departure agrees with the clock in New York: "),
    (to_nowhere, "flights", "flights.dest: is in airports: "),
    (too_far, "flights", "flights.distance_miles: miles between "),
    (sent_twice, "flights", "flights.entity_id: field_uniqueness: "),
    (in_inches_of_mercury, "weather", "weather.pressure_mb: mb between 900 and 1100: "),
    (in_feet, "weather", "weather.visib_miles: miles between 0 and 10: "),
]


def broken_by(change: Break, table: str, tables: Tables) -> Tables:
    moments = tables["flights"]["scheduled_departure"] if table == "flights" else tables["weather"]["hour"]
    return {**tables, table: change(tables, of_the_day(moments))}


def arrived_by(tables: Tables, params: Params) -> Arrived:
    return arrivals.by(NOW, NOW - timedelta(hours=6), feed_of(tables), params)


@pytest.fixture(scope="module")
def july(raw: Tables) -> Tables:
    """Two weeks as they come, with row numbers of their own."""
    part = sources.cut(raw, NOW - timedelta(days=10), NOW + timedelta(days=4))
    return {
        **part,
        "flights": part["flights"].reset_index(drop=True),
        "weather": part["weather"].reset_index(drop=True),
    }


@pytest.mark.parametrize(("change", "table", "reason"), BREAKS)
def test_a_broken_batch_is_set_aside_with_its_reason_and_the_other_days_go_on(
    change: Break, table: str, reason: str, july: Tables, params: Params
) -> None:
    whole = arrived_by(july, params)

    arrived = arrived_by(broken_by(change, table, july), params)

    (batch,) = arrived.broken
    assert (batch.table, batch.day, batch.name) == (table, DAY, f"2013-07-09 {table}")
    assert any(line.startswith(reason) and " rows; first row " in line for line in batch.reasons), batch.reasons
    for name, moments in (("flights", "scheduled_departure"), ("weather", "hour")):
        kept, expected = arrived.tables[name], whole.tables[name]
        if name == table:
            expected = expected[~of_the_day(expected[moments])]
        assert_frame_equal(kept, expected)


def test_the_rows_that_are_set_aside_are_the_days_own_as_they_came(july: Tables, params: Params) -> None:
    broken = broken_by(in_feet, "weather", july)

    (batch,) = arrived_by(broken, params).broken

    assert_frame_equal(batch.rows, broken["weather"][of_the_day(broken["weather"]["hour"])])


def test_two_broken_batches_are_told_apart(july: Tables, params: Params) -> None:
    broken = broken_by(in_feet, "weather", broken_by(to_nowhere, "flights", july))

    assert [batch.name for batch in arrived_by(broken, params).broken] == ["2013-07-09 flights", "2013-07-09 weather"]


def test_where_nothing_is_broken_nothing_is_set_aside(july: Tables, params: Params) -> None:
    assert arrived_by(july, params).broken == ()


def test_known_dirt_breaks_no_batch(july: Tables, params: Params) -> None:
    """An observation that was sent twice is repaired by the contract; the day stays."""
    doubled = {**july, "weather": pd.concat([july["weather"], july["weather"].tail(200).head(1)], ignore_index=True)}

    assert arrived_by(doubled, params).broken == ()


@pytest.mark.parametrize("hours", [6, 7, 12, 24])
def test_a_day_that_has_only_begun_is_no_broken_batch(hours: int, july: Tables) -> None:
    """One of the first seven flights goes to Puerto Rico: a share of so few says nothing."""
    midnight = datetime(2013, 7, 11, 4, tzinfo=UTC)
    so_far = sources.cut(july, midnight, midnight + timedelta(hours=hours))

    assert contract.violations_of_day(so_far, "flights", so_far["flights"]) == ()
    assert contract.violations_of_day(so_far, "weather", so_far["weather"]) == ()


@pytest.mark.parametrize(
    ("table", "column", "value"), [("planes", "seats", 0), ("airlines", "carrier", "AA"), ("airports", "lat", 123.0)]
)
def test_a_broken_static_table_stops_everything(
    table: str, column: str, value: Any, july: Tables, params: Params
) -> None:
    broken = {**july, table: july[table].assign(**{column: value})}

    with pytest.raises(ContractBroken, match=rf"{table}\.{column}"):
        arrived_by(broken, params)


def test_a_feed_with_nothing_but_broken_days_stops_everything(july: Tables) -> None:
    only = {**july, "weather": july["weather"][of_the_day(july["weather"]["hour"])]}

    with pytest.raises(ContractBroken, match="weather: has no rows"):
        arrivals.accept(broken_by(in_feet, "weather", only))


def test_a_day_is_judged_beside_the_other_tables_as_they_are(july: Tables) -> None:
    day = july["flights"][of_the_day(july["flights"]["scheduled_departure"])]

    assert contract.violations_of_day(july, "flights", day) == ()
    assert contract.violations_of_day({**july, "airlines": july["airlines"][:1]}, "flights", day) != ()


def test_what_turns_out_to_be_dirt_changes_no_features_of_before(raw_2023: Tables, params: Params) -> None:
    midnight = datetime(2023, 3, 12, 5, 0, tzinfo=UTC)  # two hours later New York's clock skips an hour
    since = midnight - timedelta(hours=6)

    def at(moment: datetime) -> pd.DataFrame:
        arrived = arrivals.by(moment, since, lambda start, end: sources.cut(raw_2023, start, end), params)
        return materialise.features_between(arrived, since, midnight, params)

    assert_frame_equal(at(midnight), at(midnight + timedelta(days=1)))
