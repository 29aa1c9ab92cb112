"""Data that have arrived by a moment give the features of the whole year, and a broken day does not stop the others."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import contract, schema, sources
from ontime.availability import Scheduled
from ontime.contract import ContractBroken
from ontime.datasets import Data, Tables
from ontime.params import Params
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from pipelines import layout
from pipelines.operations import arrivals, materialise
from pipelines.operations.arrivals import Arrived

pytestmark = pytest.mark.slow

DAY = date(2013, 7, 9)
NOW = datetime(2013, 7, 10, 16, 0, tzinfo=UTC)


@pytest.fixture
def ingested(raw: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The feed's folder with June, July and August, two days of each."""
    begins = [datetime.fromisoformat(f"2013-{month}-10T04:00:00+00:00") for month in ("06", "07", "08")]
    parts = [sources.cut(raw, begin, begin + timedelta(days=2)) for begin in begins]
    feed = {name: pd.concat([part[name] for part in parts]) for name in ("flights", "weather")}
    layout.write_tables({**raw, **feed}, tmp_path)
    monkeypatch.setattr(arrivals, "INGESTED", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("start", "end", "months"),
    [
        ("2013-07-05T00:00Z", "2013-07-12T00:00Z", ["2013-07"]),
        ("2013-07-10T12:00Z", "2013-07-11T12:00Z", ["2013-07"]),
        ("2013-06-11T00:00Z", "2013-07-11T00:00Z", ["2013-06", "2013-07"]),
        ("2013-05-30T00:00Z", "2013-06-20T00:00Z", ["2013-06"]),
    ],
)
@pytest.mark.usefixtures("ingested")
def test_the_feed_reads_the_rows_of_the_period(start: str, end: str, months: list[str]) -> None:
    first, last = datetime.fromisoformat(start), datetime.fromisoformat(end)

    feed = arrivals.read_feed(first, last)

    for moments in (feed["flights"]["scheduled_departure"], feed["weather"]["hour"]):
        assert sorted(set(sources.months_of(moments))) == months
        assert first <= moments.min() <= moments.max() < last


@pytest.mark.parametrize(
    ("start", "months"),
    [("2013-07-01T03:59Z", ["2013-06", "2013-07"]), ("2013-07-01T04:00Z", ["2013-07"])],  # midnight in New York
)
def test_the_months_of_a_period_are_those_of_the_local_clock(start: str, months: list[str], ingested: Path) -> None:
    end = datetime.fromisoformat("2013-07-12T00:00Z")

    assert layout.overlapping(layout.months_in(ingested / "flights"), datetime.fromisoformat(start), end) == months


@pytest.mark.usefixtures("ingested")
def test_a_feed_without_data_of_that_time_is_refused() -> None:
    with pytest.raises(layout.MonthsMissing, match="flights has no months from 2014-01 to 2014-01"):
        arrivals.read_feed(datetime(2014, 1, 5, tzinfo=UTC), datetime(2014, 1, 8, tzinfo=UTC))


def feed_of(tables: Tables) -> arrivals.Feed:
    return lambda start, end: sources.cut(tables, start, end)


def in_steps(raw: Tables, start: datetime, end: datetime, minutes: int, params: Params) -> pd.DataFrame:
    """The features of the moments in [start, end), each step with only the data known at its end."""
    built, since = [], start
    feed = feed_of(sources.cut(raw, start - arrivals.lookback(params) - timedelta(days=2), end + timedelta(days=4)))
    while since < end:
        now = since + timedelta(minutes=minutes)
        arrived = arrivals.arrived_by(now, since, feed, params)
        built.append(materialise.features_between(arrived, since, now, params))
        since = now
    return pd.concat([step for step in built if len(step)], ignore_index=True)


@pytest.mark.parametrize(
    ("day", "minutes"),
    [("2013-02-08", 15), ("2013-03-10", 180), ("2013-11-03", 180), ("2013-06-30", 180), ("2013-12-31", 360)],
)
def test_features_computed_during_the_day_equal_those_of_the_whole_year(
    day: str, minutes: int, raw: Tables, tables: Tables, params: Params
) -> None:
    """Bit for bit: the service uses the features that the model was trained on."""
    start = pd.Timestamp(day, tz=schema.ZONE).tz_convert("UTC").to_pydatetime()
    end = start + timedelta(days=1)

    online = in_steps(raw, start, end, minutes, params)

    at_once = materialise.features_between(Arrived(tables, ()), start, end, params)
    assert len(at_once) > 500
    assert_frame_equal(online, at_once, check_exact=True)


def timetable_known(ahead: timedelta) -> Data:
    """The declared data, with a timetable that is known `ahead` of the departure."""
    flights = next(table for table in DATA.tables if table.name == "flights")
    assert isinstance(flights.availability, Scheduled)
    changed = replace(flights, availability=replace(flights.availability, ahead=ahead))
    return replace(DATA, tables=tuple(changed if table is flights else table for table in DATA.tables))


def with_lead(params: Params, lead: timedelta) -> Params:
    features = params.features.model_copy(update={"lead_minutes": lead // timedelta(minutes=1)})
    return params.model_copy(update={"features": features})


def test_entities_that_are_predicted_days_before_their_event_get_features(
    raw: Tables, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    since, lead = datetime(2013, 7, 10, 12, tzinfo=UTC), timedelta(days=5)
    now, early = since + timedelta(hours=1), with_lead(params, lead)
    for module in (arrivals, sources):
        monkeypatch.setattr(module, "DATA", timetable_known(timedelta(days=8)))

    arrived = arrivals.arrived_by(now, since, feed_of(raw), early)
    built = materialise.features_between(arrived, since, now, early)

    departures = raw["flights"].set_index("entity_id")["scheduled_departure"]
    assert sorted(built["entity_id"]) == sorted(
        departures[(departures >= since + lead) & (departures < now + lead)].index
    )


def test_a_lead_before_the_timetable_is_known_is_refused(raw: Tables, params: Params) -> None:
    early = with_lead(params, timedelta(days=5))

    with pytest.raises(
        sources.NotDeclared, match=r"lead_minutes predicts 5 days.* before the event, .* flights is known 1 day"
    ):
        arrivals.arrived_by(NOW, NOW - timedelta(hours=6), feed_of(raw), early)


def test_outcomes_read_during_the_day_equal_those_of_the_whole_year(
    raw: Tables, tables: Tables, params: Params
) -> None:
    start, end = datetime(2013, 2, 8, 12, tzinfo=UTC), datetime(2013, 2, 9, 12, tzinfo=UTC)
    feed, since = feed_of(raw), start
    online: dict[object, object] = {}
    while since < end:
        now = since + timedelta(hours=3)
        arrived = arrivals.arrived_by(now, since, feed, params)
        online |= {row["entity_id"]: row for row in materialise.new_outcomes(arrived, since, params)}
        since = now

    flights = tables["flights"]
    landed = flights[(flights["arrived_at"] >= start) & (flights["arrived_at"] <= end)]
    rows = materialise.outcomes_of(landed, params.label.at_least)
    assert len(rows) > 200
    assert online == {row["entity_id"]: row for row in rows}


def outcomes_after(tables: Tables, days: int) -> Tables:
    """A day of flights whose outcome becomes known so many days later."""
    of_the_day = sources.cut(tables, datetime(2013, 2, 8, 12, tzinfo=UTC), datetime(2013, 2, 9, 12, tzinfo=UTC))
    flights = of_the_day["flights"]
    return {**of_the_day, "flights": flights.assign(arrived_at=flights["arrived_at"] + pd.Timedelta(days=days))}


def with_settle_days(params: Params, days: int) -> Params:
    return params.model_copy(update={"monitor": params.monitor.model_copy(update={"settle_days": days})})


def test_an_outcome_that_takes_two_weeks_is_stored(
    tables: Tables, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The contract would refuse flights of two weeks.
    monkeypatch.setattr(contract, "clean", lambda tables, **_: (tables, {}))
    taking, patient = outcomes_after(tables, 14), with_settle_days(params, 14)
    since, now = datetime(2013, 2, 22, 18, tzinfo=UTC), datetime(2013, 2, 22, 21, tzinfo=UTC)

    arrived = arrivals.arrived_by(now, since, feed_of(taking), patient)
    rows = materialise.new_outcomes(arrived, since, patient)

    due = taking["flights"]["arrived_at"].between(since, now)
    assert due.sum() > 50
    assert len(rows) == len(materialise.outcomes_of(taking["flights"][due], params.label.at_least))


def test_outcomes_that_are_known_after_the_settling_days_are_refused(tables: Tables, params: Params) -> None:
    taking = outcomes_after(tables, 40)["flights"]

    materialise.refuse_lost_outcomes(taking, with_settle_days(params, 40))
    with pytest.raises(Refusal, match=r"monitor\.settle_days 2: 100% of the outcomes are known more than 31 days"):
        materialise.refuse_lost_outcomes(taking, with_settle_days(params, 2))


Break = Callable[[Tables, pd.Series], pd.DataFrame]


def of_the_day(moments: pd.Series) -> pd.Series:
    """Whether each moment is on DAY in New York."""
    return moments.dt.tz_convert(schema.ZONE).dt.date == DAY


def an_hour_early(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    """New York's local time, read in another time zone."""
    moved = tables["flights"]["scheduled_departure"] - pd.Timedelta(hours=1)
    return tables["flights"].assign(scheduled_departure=tables["flights"]["scheduled_departure"].mask(hit, moved))


def unknown_destination(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    return tables["flights"].assign(dest=tables["flights"]["dest"].mask(hit, "QQQ"))


def distance_too_long(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    """Feet, or a placeholder."""
    return tables["flights"].assign(distance_miles=tables["flights"]["distance_miles"].mask(hit, 99_999))


def sent_twice(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    return pd.concat([tables["flights"], tables["flights"][hit]], ignore_index=True)


def in_inches_of_mercury(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    pressure = tables["weather"]["pressure_mb"]
    return tables["weather"].assign(pressure_mb=pressure.mask(hit, pressure * 0.02953))


def in_feet(tables: Tables, hit: pd.Series) -> pd.DataFrame:
    visible = tables["weather"]["visib_miles"]
    return tables["weather"].assign(visib_miles=visible.mask(hit, visible * 5280))


DATA_ERRORS = [
    (an_hour_early, "flights", "flights: scheduled_departure agrees with the clock in New York: "),
    (unknown_destination, "flights", "flights.dest: is in airports: "),
    (distance_too_long, "flights", "flights.distance_miles: miles between "),
    (sent_twice, "flights", "flights.entity_id: field_uniqueness: "),
    (in_inches_of_mercury, "weather", "weather.pressure_mb: mb between 900 and 1100: "),
    (in_feet, "weather", "weather.visib_miles: miles between 0 and 10: "),
]


def with_error(change: Break, table: str, tables: Tables) -> Tables:
    moments = tables["flights"]["scheduled_departure"] if table == "flights" else tables["weather"]["hour"]
    return {**tables, table: change(tables, of_the_day(moments))}


def arrived_from(tables: Tables, params: Params) -> Arrived:
    return arrivals.arrived_by(NOW, NOW - timedelta(hours=6), feed_of(tables), params)


@pytest.fixture(scope="module")
def july(raw: Tables) -> Tables:
    """Two weeks of raw data, with a new index."""
    part = sources.cut(raw, NOW - timedelta(days=10), NOW + timedelta(days=4))
    return {
        **part,
        "flights": part["flights"].reset_index(drop=True),
        "weather": part["weather"].reset_index(drop=True),
    }


@pytest.mark.parametrize(("change", "table", "reason"), DATA_ERRORS)
def test_a_broken_batch_is_quarantined_with_its_reason_and_the_other_days_are_not(
    change: Break, table: str, reason: str, july: Tables, params: Params
) -> None:
    whole = arrived_from(july, params)

    arrived = arrived_from(with_error(change, table, july), params)

    (batch,) = arrived.broken
    assert (batch.table, batch.day, batch.name) == (table, DAY, f"2013-07-09 {table}")
    assert any(line.startswith(reason) and " rows; first row " in line for line in batch.reasons), batch.reasons
    for name, moments in (("flights", "scheduled_departure"), ("weather", "hour")):
        kept, expected = arrived.tables[name], whole.tables[name]
        if name == table:
            expected = expected[~of_the_day(expected[moments])]
        assert_frame_equal(kept, expected)


def test_the_quarantined_rows_are_the_raw_rows_of_the_day(july: Tables, params: Params) -> None:
    broken = with_error(in_feet, "weather", july)

    (batch,) = arrived_from(broken, params).broken

    assert_frame_equal(batch.rows, broken["weather"][of_the_day(broken["weather"]["hour"])])


def test_two_broken_batches_are_reported_separately(july: Tables, params: Params) -> None:
    broken = with_error(in_feet, "weather", with_error(unknown_destination, "flights", july))

    assert [batch.name for batch in arrived_from(broken, params).broken] == ["2013-07-09 flights", "2013-07-09 weather"]


def test_without_errors_nothing_is_quarantined(july: Tables, params: Params) -> None:
    assert arrived_from(july, params).broken == ()


def test_months_of_columns_are_not_judged_here_because_no_day_could_be_quarantined_for_them(raw: Tables) -> None:
    month = sources.cut(raw, datetime(2013, 7, 1, 4, tzinfo=UTC), datetime(2013, 8, 1, 4, tzinfo=UTC))
    dry = {**month, "weather": month["weather"].assign(precip_inches=0.0)}
    with pytest.raises(ContractBroken, match=r"weather\.precip_inches: share of values that are not 0"):
        contract.clean(dry)

    assert arrivals.clean_by_day(dry).broken == ()


def test_known_data_errors_break_no_batch(july: Tables, params: Params) -> None:
    """The contract repairs an observation that was sent twice; the day is not quarantined."""
    doubled = {**july, "weather": pd.concat([july["weather"], july["weather"].tail(200).head(1)], ignore_index=True)}

    assert arrived_from(doubled, params).broken == ()


@pytest.mark.parametrize("hours", [6, 7, 12, 24])
def test_an_incomplete_day_is_not_a_broken_batch(hours: int, july: Tables) -> None:
    """One of the first seven flights goes to Puerto Rico: a share of so few rows is not evidence."""
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
        arrived_from(broken, params)


def test_a_feed_with_only_broken_days_stops_everything(july: Tables) -> None:
    only = {**july, "weather": july["weather"][of_the_day(july["weather"]["hour"])]}

    with pytest.raises(ContractBroken, match="weather: has no rows"):
        arrivals.clean_by_day(with_error(in_feet, "weather", only))


def test_a_day_is_validated_against_the_other_tables(july: Tables) -> None:
    day = july["flights"][of_the_day(july["flights"]["scheduled_departure"])]

    assert contract.violations_of_day(july, "flights", day) == ()
    assert contract.violations_of_day({**july, "airlines": july["airlines"][:1]}, "flights", day) != ()


def test_a_data_error_found_later_changes_no_earlier_features(raw_2023: Tables, params: Params) -> None:
    midnight = datetime(2023, 3, 12, 5, 0, tzinfo=UTC)  # two hours later New York's clock skips an hour
    since = midnight - timedelta(hours=6)

    def at(moment: datetime) -> pd.DataFrame:
        arrived = arrivals.arrived_by(moment, since, lambda start, end: sources.cut(raw_2023, start, end), params)
        return materialise.features_between(arrived, since, midnight, params)

    assert_frame_equal(at(midnight), at(midnight + timedelta(days=1)))
