"""Ideas for features: as of the prediction moment, equal to what a loop finds, and in no model."""

import os
import re
import shutil
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import ideas, schema
from ontime.datasets import Tables
from ontime.params import Params
from ontime.problem.ideas import IDEAS
from pipelines.layout import VALIDATED, write_tables
from tests import ROOT
from tests.futures import with_another_future

GUIDE = (ROOT / "docs/make-it-yours.md").read_text().partition("## Try an idea for a feature")[2]
COLUMNS = {  # of the guide's ideas -> the features that they become
    "clock.sine": "departure_sine",
    "clock.cosine": "departure_cosine",
    **{
        f"airline.{hours}h_{measure}": f"departures_carrier_{hours}h_{measure}"
        for hours in (1, 3)
        for measure in ("count", "late", "delay")
    },
}
AS_FEATURES = """
import json
import sys
from pathlib import Path

import pandas as pd

from ontime import features, schema
from ontime.params import load_params
from ontime.problem import PROBLEM
from pipelines.layout import VALIDATED, read_tables

params, (start, end) = load_params(Path(sys.argv[1])), (pd.Timestamp(each) for each in sys.argv[2:])
built = features.build(read_tables(VALIDATED), start, end, params.features, params.question)
example = next(iter(PROBLEM.examples.values()))
flight = PROBLEM.request.model_validate_json(json.dumps(example))
for name in set(schema.FEATURE_NAMES) - set(schema.CATEGORICAL):
    assert PROBLEM.reason(name, 1.0, flight, {}, params.question)
built.to_parquet("built.parquet")
"""
START = pd.Timestamp("2013-03-04", tz=schema.ZONE)


def build(tables: Tables, start: pd.Timestamp, days: float, params: Params) -> pd.DataFrame:
    return ideas.idea_features(IDEAS, tables, start, start + timedelta(days=days), params.features, params.question)


@pytest.fixture(scope="module")
def week(tables: Tables, params: Params) -> pd.DataFrame:
    return build(tables, START, 7, params)


@pytest.fixture(scope="module")
def flights(tables: Tables) -> pd.DataFrame:
    return tables["flights"].set_index("entity_id", drop=False)


def test_they_are_the_declared_ideas_and_no_feature() -> None:
    declared = ideas.declared_ideas()

    assert set(declared) == {"airports", "rates", "queue", "destination", "two_legs", "since_four"}
    assert all(idea.words for idea in declared.values())


def test_no_column_of_an_idea_is_a_feature_of_a_model(week: pd.DataFrame) -> None:
    columns = {name for name in map(str, week) if "." in name}

    assert {name.partition(".")[0] for name in columns} == set(IDEAS)
    assert not columns & set(schema.FEATURE_NAMES)


@pytest.mark.parametrize("moment", ["2013-03-08 10:00", "2013-03-10 04:00", "2013-07-22 16:30", "2013-11-03 04:00"])
def test_another_future_changes_no_idea_of_who_was_asked_about_before_it(
    moment: str, tables: Tables, params: Params
) -> None:
    cut = pd.Timestamp(moment, tz=schema.ZONE)
    built = build(tables, cut - timedelta(days=3), 6, params)

    changed = build(with_another_future(tables, cut.to_pydatetime()), cut - timedelta(days=3), 6, params)

    assert_frame_equal(changed[changed["moment"] <= cut], built[built["moment"] <= cut])
    for idea in IDEAS:
        columns = [name for name in map(str, built) if name.startswith(f"{idea}.")]
        later = (each.loc[each["moment"] > cut, columns] for each in (changed, built))
        assert not next(later).equals(next(later)), idea


def test_a_month_needs_no_more_than_the_halo(tables: Tables, week: pd.DataFrame, params: Params) -> None:
    scheduled = tables["flights"]["scheduled_departure"]
    near = scheduled.between(START - ideas.HALO, START + timedelta(days=9))

    assert_frame_equal(build({**tables, "flights": tables["flights"][near]}, START, 7, params), week)


@pytest.fixture(scope="module", params=[200, 2900, 5600])
def row(request: pytest.FixtureRequest, week: pd.DataFrame) -> pd.Series:
    return week.iloc[request.param]


def test_a_rate_is_that_of_28_days_less_new_yorks_and_shrunk(row: pd.Series, flights: pd.DataFrame) -> None:
    moment, flight = row["moment"], flights.loc[row["entity_id"]]
    arrived = flights[(flights["arrived_at"] > moment - timedelta(days=28)) & (flights["arrived_at"] <= moment)]
    new_york = (arrived["arr_delay_minutes"] >= 15).mean()

    for name, same in {
        "route": (arrived["origin"] == flight["origin"]) & (arrived["dest"] == flight["dest"]),
        "carrier": arrived["carrier"] == flight["carrier"],
        "dest": arrived["dest"] == flight["dest"],
        "origin_carrier": (arrived["origin"] == flight["origin"]) & (arrived["carrier"] == flight["carrier"]),
    }.items():
        late = (arrived.loc[same, "arr_delay_minutes"] >= 15).sum()
        assert row[f"rates.{name}"] == pytest.approx((late + 50 * new_york) / (same.sum() + 50) - new_york), name


def test_the_queue_is_who_has_not_left_and_is_scheduled_until_this_departure(
    row: pd.Series, flights: pd.DataFrame
) -> None:
    moment, flight = row["moment"], flights.loc[row["entity_id"]]
    scheduled, departed = flights["scheduled_departure"], flights["departed_at"]
    here = flights["origin"] == flight["origin"]
    due = here & (scheduled > moment - timedelta(hours=3)) & (scheduled <= flight["scheduled_departure"])
    left = here & (departed > moment - timedelta(hours=1)) & (departed <= moment)

    waiting = int((due & ~(departed <= moment)).sum())

    assert row["queue.origin_flights"] == waiting
    assert row["queue.origin_hours"] == pytest.approx(waiting / max(1, left.sum()))


def test_the_destinations_departures_are_those_of_the_last_hours(row: pd.Series, flights: pd.DataFrame) -> None:
    moment, flight = row["moment"], flights.loc[row["entity_id"]]
    for hours in (3, 6):
        recent = (flights["departed_at"] > moment - timedelta(hours=hours)) & (flights["departed_at"] <= moment)
        delays = flights.loc[recent & (flights["dest"] == flight["dest"]), "dep_delay_minutes"]

        assert row[f"destination.delay_{hours}h"] == pytest.approx(delays.mean(), nan_ok=True)
        assert row[f"destination.late_{hours}h"] == pytest.approx((delays >= 15).mean(), nan_ok=True)


def test_the_leg_before_the_previous_one_is_the_second_last_of_the_aircraft(
    week: pd.DataFrame, flights: pd.DataFrame
) -> None:
    with_two = week[week["two_legs.turnaround_minutes"].notna()]
    for position in (100, 1500, 2500):
        row = with_two.iloc[position]
        flight = flights.loc[row["entity_id"]]
        legs = flights[flights["tailnum"] == flight["tailnum"]]
        before, last = legs[legs["scheduled_departure"] < flight["scheduled_departure"]].iloc[-2:].itertuples()
        between = (last.scheduled_departure - before.scheduled_departure).total_seconds() / 60

        assert row["two_legs.turnaround_minutes"] == between
        steps = int(before.departed_at <= row["moment"]) + int(before.arrived_at <= row["moment"])
        assert row["two_legs.status"] == steps


@pytest.mark.parametrize("position", [40, 3000, 5600])
def test_the_day_begins_at_four_on_new_yorks_clock(position: int, week: pd.DataFrame, flights: pd.DataFrame) -> None:
    row = week.iloc[position]
    moment, flight = row["moment"], flights.loc[row["entity_id"]]
    clock = moment.tz_convert(schema.ZONE)
    four = clock.normalize() + pd.Timedelta(hours=4)
    begin = four if clock >= four else four - pd.Timedelta(days=1)
    same = flights["carrier"] == flight["carrier"]
    delays = flights.loc[
        same & (flights["departed_at"] > begin) & (flights["departed_at"] <= moment), "dep_delay_minutes"
    ]

    assert row["since_four.carrier_count"] == len(delays)
    assert row["since_four.carrier_delay"] == pytest.approx(delays.mean() if len(delays) else np.nan, nan_ok=True)
    assert row["since_four.carrier_late"] == pytest.approx(
        (delays >= 15).mean() if len(delays) else np.nan, nan_ok=True
    )


def test_the_weather_of_each_airport_is_its_last_observation(week: pd.DataFrame, tables: Tables) -> None:
    row, weather = week.iloc[500], tables["weather"]
    for origin in ("EWR", "JFK", "LGA"):
        observed = weather[(weather["origin"] == origin) & (weather["known_at"] <= row["moment"])].iloc[-1]

        assert row[f"airports.{origin}_visib_miles"] == observed["visib_miles"]
        assert row[f"airports.{origin}_precip_inches"] == observed["precip_inches"]


def changed(text: str, hunk: str) -> str:
    """The text after the additions of one part of a diff, whose other lines it has exactly once."""
    before, after = ("".join(line[1:] for line in hunk.splitlines(True) if line[0] in kinds) for kinds in (" ", " +"))
    assert text.count(before) == 1, before
    return text.replace(before, after)


def with_the_guides_features(folder: Path) -> Path:
    """A copy of the problem in which the ideas of docs/make-it-yours.md are features, as its diffs say."""
    problem = Path(shutil.copytree(ROOT / "src/ontime/problem", folder / "problem"))
    for block in re.findall(r"```diff\n(.*?)```", GUIDE, re.DOTALL):
        for name, hunk in re.findall(r"^--- (\S+)\n(.*?)(?=^---|\Z)", block, re.DOTALL | re.MULTILINE):
            (problem / name).write_text(changed((problem / name).read_text(), hunk))
    return problem


@pytest.mark.slow
def test_the_guides_ideas_are_what_it_says_and_become_features_with_the_same_values(
    tables: Tables, flights: pd.DataFrame, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    pasted: dict[str, Any] = {}
    exec(code, pasted)  # noqa: S102  the guide's own
    end = START + timedelta(days=1)
    day = ideas.idea_features(pasted["IDEAS"], tables, START, end, params.features, params.question)

    monkeypatch.chdir(tmp_path)
    near = flights["scheduled_departure"].between(START - timedelta(days=31), end + timedelta(days=1))
    write_tables({**tables, "flights": flights[near].reset_index(drop=True)}, VALIDATED)
    environment = {**os.environ, "ONTIME_PROBLEM": str(with_the_guides_features(tmp_path)),
                   "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}  # fmt: skip
    arguments = [str(ROOT / "params.yaml"), START.isoformat(), end.isoformat()]
    subprocess.run([sys.executable, "-c", AS_FEATURES, *arguments], env=environment, check=True)
    built = pd.read_parquet(tmp_path / "built.parquet")

    row = day.iloc[300]
    own = flights[flights["carrier"] == flights.loc[row["entity_id"], "carrier"]]
    recent = own[(own["departed_at"] > row["moment"] - timedelta(hours=3)) & (own["departed_at"] <= row["moment"])]
    assert row["airline.3h_count"] == len(recent)
    assert row["airline.3h_delay"] == pytest.approx(recent["dep_delay_minutes"].mean())
    six = (
        flights.loc[day["entity_id"], "scheduled_departure"].dt.tz_convert(schema.ZONE).dt.strftime("%H:%M") == "06:00"
    )
    assert day.loc[six.to_numpy(), "clock.sine"].to_numpy() == pytest.approx(1)
    assert len(built) == len(day)
    for idea, feature in COLUMNS.items():
        np.testing.assert_allclose(built[feature], day[idea], atol=1e-12)
