"""The rule that the stage `features` tries: without what came later, every row is the same."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from ontime import features, point_in_time, schema, sources
from ontime.availability import Observed
from ontime.datasets import Table, Tables
from ontime.params import Params
from ontime.point_in_time import FutureLeak
from ontime.problem.data import DATA

FIRST = pd.Timestamp("2013-03-04", tz=schema.ZONE)
CUT = pd.Timestamp("2013-03-08 17:00", tz="UTC")
SPRING = pd.Timestamp("2013-03-10 07:00", tz="UTC")
Build = Callable[[Tables], pd.DataFrame]


@pytest.fixture(scope="module")
def march(tables: Tables) -> Tables:
    """Two weeks of the tables, and what lies before."""
    leaves, hour = tables["flights"]["scheduled_departure"], tables["weather"]["hour"]
    start, end = FIRST - timedelta(days=5), FIRST + timedelta(days=15)
    return {
        **tables,
        "flights": tables["flights"][leaves.between(start, end)].reset_index(drop=True),
        "weather": tables["weather"][hour.between(start, end)].reset_index(drop=True),
    }


@pytest.fixture
def build(params: Params) -> Build:
    """The honest features of one week."""
    return partial(
        features.build, start=FIRST, end=FIRST + timedelta(days=7), params=params.features, question=params.question
    )


def with_feature(build: Build, values: Callable[[Tables], pd.Series]) -> Build:
    """The same features with one more, looked up by flight."""
    return lambda tables: build(tables).assign(mine=lambda rows: rows["entity_id"].map(values(tables)))


@pytest.mark.slow
def test_honest_features_are_the_same_and_their_rows_are_counted(march: Tables, build: Build) -> None:
    rows = build(march)

    compared = point_in_time.refuse_future(march, rows, build, [CUT, SPRING])

    assert compared == (rows["moment"] <= CUT).sum() + (rows["moment"] <= SPRING).sum()


def test_what_is_refused_is_named_with_row_moment_and_both_values(march: Tables, build: Build) -> None:
    air = with_feature(build, lambda tables: tables["flights"].set_index("entity_id")["air_minutes"])

    with pytest.raises(FutureLeak) as refused:
        point_in_time.refuse_future(march, air(march), air, [CUT])

    flight = march["flights"].set_index("entity_id").loc[str(refused.value).split(" ")[2]]
    assert f"is {flight['air_minutes']}, but nan without data known after 2013-03-08 17:00Z" in str(refused.value)
    assert "its prediction moment is 2013-03-08 1" in str(refused.value)


def test_one_row_of_the_past_that_differs_is_enough(march: Tables, build: Build) -> None:
    rows = build(march)
    chosen = rows.index[rows["moment"] <= CUT][0]
    wrong = rows.assign(temp_f=rows["temp_f"].where(rows.index != chosen, 99.0))

    with pytest.raises(FutureLeak, match=rf"^temp_f of {rows['entity_id'][chosen]} is 99.0, but .* 1 of "):
        point_in_time.refuse_future(march, wrong, build, [CUT])


@pytest.fixture
def noticed(march: Tables, monkeypatch: pytest.MonkeyPatch) -> Tables:
    """The tables with one that somebody has added: notices to pilots, each with the moment of its publication."""
    added = Table(
        "notices", availability=Observed("published_at"), contract=lambda _: pa.DataFrameSchema(), moment="published_at"
    )
    monkeypatch.setattr(sources, "DATA", replace(DATA, tables=(*DATA.tables, added)))
    published = pd.date_range(FIRST - timedelta(days=1), periods=400, freq="30min").tz_convert("UTC")
    notices = pd.DataFrame({"published_at": published, "severity": np.arange(400.0)})
    return {**march, "notices": notices}


def latest_notice(build: Build, ahead: timedelta) -> Build:
    def built(tables: Tables) -> pd.DataFrame:
        rows = build(tables).assign(at=lambda rows: (rows["moment"] + ahead).astype("datetime64[us, UTC]"))
        notices = tables["notices"].astype({"published_at": "datetime64[us, UTC]"})
        near = pd.merge_asof(rows[["at"]].sort_values("at"), notices, left_on="at", right_on="published_at")
        return rows.drop(columns="at").assign(severity=near["severity"].to_numpy())

    return built


def test_any_declared_table_is_cut_and_its_honest_features_pass(noticed: Tables, build: Build) -> None:
    honest = latest_notice(build, timedelta())

    assert point_in_time.refuse_future(noticed, honest(noticed), honest, [CUT]) > 0


def test_a_feature_that_reads_the_next_row_of_an_added_table_is_refused(noticed: Tables, build: Build) -> None:
    leaking = latest_notice(build, timedelta(minutes=30))

    with pytest.raises(FutureLeak, match="severity of"):
        point_in_time.refuse_future(noticed, leaking(noticed), leaking, [CUT])


def test_a_lead_that_is_longer_than_the_timetable_is_known_ahead_is_refused(march: Tables, params: Params) -> None:
    early = params.features.model_copy(update={"lead_minutes": 30 * 60})
    build = partial(features.build, start=FIRST, end=FIRST + timedelta(days=7), params=early, question=params.question)

    with pytest.raises(FutureLeak, match=r"`ahead` in problem/data\.py must be longer than features\.lead_minutes"):
        point_in_time.refuse_future(march, build(march), build, [CUT])


def test_code_that_cannot_do_without_the_future_is_told_when_it_failed(march: Tables, build: Build) -> None:
    whole = with_feature(
        build, lambda tables: tables["flights"].set_index("entity_id")["dep_hhmm"].dropna().astype(int)
    )
    rows = whole(march)

    def failing(tables: Tables) -> pd.DataFrame:
        return whole(
            {**tables, "flights": tables["flights"].assign(dep_hhmm=tables["flights"]["dep_hhmm"].astype(int))}
        )

    with pytest.raises(ValueError, match="convert") as failed:
        point_in_time.refuse_future(march, rows, failing, [CUT])

    assert "point in time: the features cannot be built from the data known at 2013-03-08 17:00Z" in str(
        failed.value.__notes__
    )


@pytest.mark.parametrize("hours", [0, 1, 24])
def test_short_windows_and_missing_weather_are_no_hindrance(hours: int, march: Tables, params: Params) -> None:
    end = FIRST + timedelta(hours=6 + hours)
    build = partial(features.build, start=FIRST, end=end, params=params.features, question=params.question)
    without = {**march, "weather": march["weather"][march["weather"]["known_at"] > end]}
    rows = build(without)

    moments = point_in_time.draw_moments(rows["moment"], seed=1)

    assert point_in_time.refuse_future(without, rows, build, moments) >= len(moments)
    assert bool(moments) == (not rows.empty)


def test_what_was_known_until_a_moment_can_be_tried_again(march: Tables, build: Build) -> None:
    """The tables of a retraining hold no future to begin with, and a timetable without outcomes at their end."""
    available = sources.as_of(march, CUT.to_pydatetime())
    rows = build(available)
    late = [CUT - timedelta(hours=1), CUT, CUT + timedelta(hours=5)]

    assert point_in_time.refuse_future(available, rows, build, late) > 0


@pytest.fixture(scope="module")
def year(tables: Tables, params: Params) -> pd.DataFrame:
    """The labelled flights with their prediction moment and their month."""
    flights = tables["flights"][tables["flights"]["arrived_at"].notna()]
    moment = flights["scheduled_departure"] - timedelta(minutes=params.features.lead_minutes)
    return flights.assign(moment=moment, month=sources.months_of(flights["scheduled_departure"]))


def drawn(year: pd.DataFrame) -> dict[str, list[pd.Timestamp]]:
    return {
        str(month): point_in_time.draw_moments(rows["moment"], int(str(month).replace("-", "")))
        for month, rows in year.groupby("month")
    }


def test_moments_are_drawn_in_each_part_of_a_month_and_around_both_clock_changes(year: pd.DataFrame) -> None:
    moments = drawn(year)

    assert moments == drawn(year)
    assert {month: len(each) for month, each in moments.items() if len(each) != 2} == {"2013-03": 8, "2013-11": 8}
    for month, change in (("2013-03", SPRING), ("2013-11", pd.Timestamp("2013-11-03 06:00", tz="UTC"))):
        near = [moment for moment in moments[month] if abs(moment - change) <= timedelta(hours=12)]
        assert min(near) < change < max(near)
        assert len(near) >= 6


def test_one_flight_in_fifty_is_asked_about_before_a_drawn_moment_and_arrives_after_it(year: pd.DataFrame) -> None:
    """So a feature that uses the outcome of a few hundred flights of the year shows in one of them."""
    exposed = pd.Series(False, index=year.index)
    for moment in [moment for each in drawn(year).values() for moment in each]:
        exposed |= (year["moment"] <= moment) & (year["arrived_at"] > moment)

    assert exposed.mean() > 0.02
