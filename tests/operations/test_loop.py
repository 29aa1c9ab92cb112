"""The loop closes by itself: what is decided about a day is done once, and a bad release is taken back.

Answers and outcomes are written into the database as the service and the feed would write them.
"""

import json
import shutil
import signal
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest
import sqlalchemy as sa
import yaml

from monitoring import daily_metrics
from monitoring.daily_metrics import DayContext
from monitoring.policy import Action
from ontime import database, model, registry, release, sources
from ontime.datasets import Tables
from ontime.declaration import Question
from ontime.local_time import midnight
from ontime.params import AlertRule, Params, Retrain
from ontime.release import NoRelease, Pointer
from ontime.settings import Settings
from pipelines.operations import apply_policy, feed_clock, materialise, monitor, retrain, transition_log, transitions
from pipelines.operations.transition_log import BY_TRAINING, Cause
from pipelines.tools import performance_report
from tests.service import wait_for
from tests.small_world import Small, _small

# The models are trained until the 18th. Evidently takes seconds, and looks at none of these days but Sunday.
MONDAY, TUESDAY, WEDNESDAY = (date(2013, 2, 18) + timedelta(days=number) for number in range(3))
SUNDAY = date(2013, 2, 24)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MLflow's database with versions 1 to 3 of the model; made once, because it takes seconds."""
    folder = tmp_path_factory.mktemp("mlflow")
    client = registry.connect(f"sqlite:///{folder}/mlflow.db", folder / "artifacts")
    client.create_registered_model(registry.NAME)
    for _ in range(3):
        client.create_model_version(registry.NAME, "file:///nowhere", run_id=None)
    return folder / "mlflow.db"


@pytest.fixture
def world(settings: Settings, history: Path, tmp_path: Path) -> Settings:
    """The small world, with everything that is written in a folder of its own."""
    shutil.copy(history, tmp_path / "mlflow.db")
    folders = {name: tmp_path / name for name in ("workspace", "evidently", "quarantine")}
    return settings.model_copy(update=folders)


@pytest.fixture
def engine(world: Settings) -> Iterator[sa.Engine]:
    connected = database.connect(world.database_url)
    yield connected
    connected.dispose()


@pytest.fixture(scope="module")
def upside_down(weeks: pd.DataFrame, tables: Tables, params: Params) -> Small:
    """A model that was fitted on flipped labels: what it calls late is on time."""
    return _small(weeks.assign(label=~weeks["label"]), tables, params, 10)


@pytest.fixture
def brief(params: Params) -> Params:
    """With a shadow of three days, so that a test need not live a week."""
    return params.model_copy(update={"policy": params.policy.model_copy(update={"shadow_days": 3})})


def pointer_of(settings: Settings) -> Pointer:
    pointer = release.read_pointer(settings.releases)
    assert pointer is not None
    return pointer


def decided(engine: sa.Engine, *kinds: str) -> list[tuple[str, str]]:
    with engine.connect() as connection:
        rows = connection.execute(sa.select(database.decisions).order_by(database.decisions.c.decision_id)).all()
    return [(row.kind, row.verdict) for row in rows if row.kind in kinds or not kinds]


def challenging(settings: Settings, engine: sa.Engine, version: str, day: date) -> None:
    """What `promote candidate` does at the end of a day, once the gate has let a candidate through."""
    now = midnight(day + timedelta(days=1))
    passed(engine, version, now)
    transitions.challenge(settings, engine, version, 0, Cause(BY_TRAINING, "no worse", at=now))


def passed(engine: sa.Engine, version: str, now: datetime) -> None:
    """The gate has let a candidate through."""
    database.record_decision(engine, "gate", "promote", {"version": version, "against": "release 1"}, now)


def pointer_question(settings: Settings) -> Question:
    return release.verify(settings.releases / pointer_of(settings).version).question


def live(settings: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, day: date) -> None:
    """A day of production: every flight is answered by the champion, scored in the shadow, and lands."""
    rows = weeks[weeks["day"] == pd.Timestamp(day)]
    timetable = tables["flights"].set_index("entity_id", drop=False)
    materialise.materialise(engine, pointer_question(settings), rows, timetable)
    pointer = pointer_of(settings)
    ids = answer(settings, engine, rows, pointer.version)
    if pointer.challenger is not None:
        told, _ = score(settings, rows, pointer.challenger.version)
        shadows = [
            {"prediction_id": key, "model_version": pointer.challenger.version, "probability": probability}
            for key, probability in zip(ids, told, strict=True)
        ]
        database.log_shadows(engine, shadows)
    database.store_outcomes(engine, materialise.outcomes_of(timetable.loc[rows["entity_id"]], 15))


def score(settings: Settings, rows: pd.DataFrame, version: str) -> tuple[list[float], np.ndarray]:
    """What a release says of the flights, and its inputs."""
    loaded = release.load(settings.releases, version)
    matrix = model.matrix_of(rows, loaded.manifest.categories)
    return loaded.model.predict(matrix).astype(float).tolist(), matrix


def answer(settings: Settings, engine: sa.Engine, rows: pd.DataFrame, version: str) -> list[str]:
    told, matrix = score(settings, rows, version)
    answered = [
        {
            "prediction_id": database.new_prediction_id(),
            "entity_id": entity_id,
            "answered_at": moment.to_pydatetime(),
            "model_version": version,
            "probability": probability,
            "alert": probability >= 0.25,
            "features": "online",
            "vector": vector.astype("<f4").tobytes(),
            "latency_ms": 1.0,
        }
        for entity_id, moment, probability, vector in zip(rows["entity_id"], rows["moment"], told, matrix, strict=True)
    ]
    for start in range(0, len(answered), 1000):
        database.log_predictions(engine, answered[start : start + 1000])
    return [str(each["prediction_id"]) for each in answered]


def carry_out(settings: Settings, engine: sa.Engine, action: Action, version: str | None) -> Pointer:
    apply_policy.carry_out(settings, engine, action, version, MONDAY, midnight(TUESDAY))
    return pointer_of(settings)


def aliases(settings: Settings) -> dict[str, str]:
    client = registry.connect(settings.tracking_url, settings.artifacts)
    return {alias: str(version) for alias, version in client.get_registered_model(registry.NAME).aliases.items()}


def test_a_promoted_candidate_answers_and_its_predecessor_goes_on_in_the_shadow(
    world: Settings, engine: sa.Engine
) -> None:
    challenging(world, engine, "2", MONDAY - timedelta(days=7))

    pointer = carry_out(world, engine, Action.PROMOTE, "2")

    assert (pointer.version, pointer.history, pointer.rolled_back) == ("2", ("1",), ())
    assert pointer.challenger is not None
    assert (pointer.challenger.version, pointer.challenger.share) == ("1", 0)
    assert decided(engine, "promotion") == [("promotion", "by the policy")]
    assert aliases(world) == {"champion": "2", "challenger": "1"}


@pytest.mark.parametrize("action", [Action.PROMOTE, Action.ROLL_BACK])
def test_what_somebody_prevented_by_hand_is_not_written_down_as_done(
    action: Action, world: Settings, engine: sa.Engine
) -> None:
    release.challenge(world.releases, None)

    pointer = carry_out(world, engine, action, "2")

    assert (pointer.version, pointer.history) == ("1", ())
    assert decided(engine) == []


def test_a_withdrawn_candidate_leaves_the_champion_alone(world: Settings, engine: sa.Engine) -> None:
    release.challenge(world.releases, "2")

    pointer = carry_out(world, engine, Action.WITHDRAW, "2")

    assert (pointer.version, pointer.challenger, pointer.history) == ("1", None, ())
    assert decided(engine) == [("challenge", "withdrawn")]
    assert aliases(world) == {"champion": "1"}


def test_a_watch_that_is_over_ends_the_shadow_and_keeps_the_way_back(world: Settings, engine: sa.Engine) -> None:
    release.point(world.releases, "2", watched=True)

    pointer = carry_out(world, engine, Action.WITHDRAW, "1")

    assert (pointer.version, pointer.challenger, pointer.history) == ("2", None, ("1",))
    assert decided(engine) == [("challenge", "withdrawn")]


def test_a_release_that_is_rolled_back_is_remembered_and_challenges_nobody(world: Settings, engine: sa.Engine) -> None:
    release.point(world.releases, "2", watched=True)

    pointer = carry_out(world, engine, Action.ROLL_BACK, "1")

    assert (pointer.version, pointer.challenger, pointer.history) == ("1", None, ())
    assert pointer.rolled_back == ("2",)
    assert decided(engine) == [("rollback", "by the policy")]
    assert aliases(world) == {"champion": "1"}


def on_trial(settings: Settings, engine: sa.Engine, action: Action) -> None:
    """Release 2 challenges; before a rollback it serves traffic, and its predecessor challenges."""
    before = MONDAY - timedelta(days=7)
    challenging(settings, engine, "2", before)
    if action is Action.ROLL_BACK:
        apply_policy.carry_out(settings, engine, Action.PROMOTE, "2", before, midnight(MONDAY))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("action", "version"), [(Action.PROMOTE, "2"), (Action.WITHDRAW, "2"), (Action.ROLL_BACK, "1")]
)
def test_what_is_carried_out_again_changes_nothing(
    action: Action, version: str, world: Settings, engine: sa.Engine
) -> None:
    on_trial(world, engine, action)
    before = decided(engine)

    first, rows = carry_out(world, engine, action, version), decided(engine)
    second = carry_out(world, engine, action, version)

    assert (second, decided(engine)) == (first, rows)
    assert len(rows) == len(before) + 1


@pytest.mark.parametrize(
    ("action", "version"), [(Action.PROMOTE, "2"), (Action.WITHDRAW, "2"), (Action.ROLL_BACK, "1")]
)
def test_what_was_cut_off_after_the_pointer_moved_is_still_written_down(
    action: Action, version: str, world: Settings, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_trial(world, engine, action)
    before = decided(engine)
    with monkeypatch.context() as killed:
        killed.setattr(transition_log, "record", interrupt)
        with pytest.raises(KeyboardInterrupt):
            carry_out(world, engine, action, version)
    moved = pointer_of(world)

    again = carry_out(world, engine, action, version)

    assert again == moved
    assert len(decided(engine)) == len(before) + 1
    assert decided(engine)[-1] == (
        apply_policy.KINDS[action],
        "withdrawn" if action is Action.WITHDRAW else "by the policy",
    )


def test_a_rollback_that_is_carried_out_again_goes_no_further_back(
    world: Settings, engine: sa.Engine, small: Small
) -> None:
    release.publish(world.releases, small.contents, small.manifest("3"))
    release.point(world.releases, "2")
    release.point(world.releases, "3", watched=True)

    versions = [carry_out(world, engine, Action.ROLL_BACK, "2").version for _ in range(2)]

    assert versions == ["2", "2"]


def test_a_withdrawal_that_is_carried_out_again_leaves_the_next_candidate_alone(
    world: Settings, engine: sa.Engine, small: Small
) -> None:
    release.publish(world.releases, small.contents, small.manifest("3"))
    release.challenge(world.releases, "2")
    carry_out(world, engine, Action.WITHDRAW, "2")
    release.challenge(world.releases, "3")

    pointer = carry_out(world, engine, Action.WITHDRAW, "2")

    assert pointer.challenger is not None
    assert pointer.challenger.version == "3"


def test_a_candidate_that_the_gate_has_kept_out_since_is_not_promoted(
    world: Settings, engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    challenging(world, engine, "2", MONDAY - timedelta(days=7))
    kept = {"version": "2", "against": "release 1", "reason": "slices get worse"}
    database.record_decision(engine, "gate", "keep", kept, midnight(TUESDAY))
    before = pointer_of(world)

    assert carry_out(world, engine, Action.PROMOTE, "2") == before
    assert decided(engine, "promotion") == []
    assert "act: the gate kept release 2 out" in capsys.readouterr().err


@pytest.mark.parametrize("action", [Action.NOTHING, Action.STOP, Action.RETRAIN])
@pytest.mark.parametrize("version", [None, "2"])
def test_all_other_decisions_move_nothing(
    action: Action, version: str | None, world: Settings, engine: sa.Engine
) -> None:
    release.challenge(world.releases, "2")
    before = pointer_of(world)

    assert carry_out(world, engine, action, version) == before
    assert decided(engine) == []


def test_a_candidate_that_does_not_prove_itself_is_never_promoted(
    world: Settings, engine: sa.Engine, small: Small, other: Small
) -> None:
    """Its bytes are as published; what it says of its probes is not what it said in training."""
    contents = {**small.contents, release.MODEL: other.contents[release.MODEL]}
    digests = Small(contents, small.categories, small.label, small.probability).manifest("3")
    release.publish(world.releases, contents, digests)
    release.challenge(world.releases, "3")
    before = pointer_of(world)

    with pytest.raises(release.ReleaseRefused, match=r"release 3: .* gets"):
        carry_out(world, engine, Action.PROMOTE, "3")

    assert pointer_of(world) == before
    assert decided(engine) == []


def test_production_moves_without_mlflow_and_says_so(
    world: Settings, engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    client = registry.connect(world.tracking_url, world.artifacts)
    client.delete_registered_model(registry.NAME)
    challenging(world, engine, "2", MONDAY - timedelta(days=7))

    pointer = carry_out(world, engine, Action.PROMOTE, "2")

    assert pointer.version == "2"
    assert decided(engine, "promotion") == [("promotion", "by the policy")]
    assert "transitions: MLflow's alias champion stays where it was" in capsys.readouterr().err


def test_a_bad_release_is_taken_back_by_itself(
    world: Settings, engine: sa.Engine, upside_down: Small, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    """It came through the gate by some accident, and answers; its predecessor scores the same flights."""
    release.publish(world.releases, upside_down.contents, upside_down.manifest("3"))
    challenging(world, engine, "3", MONDAY - timedelta(days=7))
    apply_policy.carry_out(world, engine, Action.PROMOTE, "3", MONDAY - timedelta(days=1), midnight(MONDAY))

    actions = []
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        live(world, engine, weeks, tables, day)
        actions.append(monitor.run(world, params, day).action)

    pointer = pointer_of(world)
    assert actions == [Action.NOTHING, Action.NOTHING, Action.ROLL_BACK]
    assert (pointer.version, pointer.challenger, pointer.rolled_back) == ("1", None, ("3",))
    assert decided(engine, "policy", "promotion", "rollback") == [
        ("promotion", "by the policy"),
        ("policy", "nothing"),
        ("policy", "nothing"),
        ("policy", "roll back"),
        ("rollback", "by the policy"),
    ]
    (rolled_back,) = database.decisions_of(engine, "rollback")
    assert rolled_back.evidence["version"] == "1"
    assert "worse than release 1 on the same new flights" in rolled_back.evidence["reason"]
    assert aliases(world) == {"champion": "1"}


def test_a_candidate_that_does_no_harm_answers_after_its_days_in_the_shadow(
    world: Settings, engine: sa.Engine, small: Small, weeks: pd.DataFrame, tables: Tables, brief: Params
) -> None:
    release.publish(world.releases, small.contents, small.manifest("3"))
    challenging(world, engine, "3", MONDAY - timedelta(days=1))

    actions = []
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        live(world, engine, weeks, tables, day)
        actions.append(monitor.run(world, brief, day).action)

    pointer = pointer_of(world)
    assert actions == [Action.NOTHING, Action.NOTHING, Action.PROMOTE]
    assert (pointer.version, pointer.history) == ("3", ("1",))
    assert pointer.challenger is not None
    assert pointer.challenger.version == "1"


def test_a_candidate_that_the_gate_kept_out_is_not_promoted_by_the_policy(
    world: Settings, engine: sa.Engine, small: Small, weeks: pd.DataFrame, tables: Tables, brief: Params
) -> None:
    """Somebody put it into the shadow by hand, to compare the two."""
    release.publish(world.releases, small.contents, small.manifest("3"))
    challenging(world, engine, "3", MONDAY - timedelta(days=1))
    kept = {"version": "3", "against": "release 1", "reason": "slices get worse"}
    database.record_decision(engine, "gate", "keep", kept)
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        live(world, engine, weeks, tables, day)

    decision = monitor.run(world, brief, WEDNESDAY)

    assert decision.action is Action.WITHDRAW
    assert "the gate kept release 3 out when it was compared with release 1: slices get worse" in decision.reason
    assert (pointer_of(world).version, pointer_of(world).challenger) == ("1", None)


def test_a_candidate_that_is_worse_in_the_shadow_never_answers(
    world: Settings, engine: sa.Engine, upside_down: Small, weeks: pd.DataFrame, tables: Tables, brief: Params
) -> None:
    release.publish(world.releases, upside_down.contents, upside_down.manifest("3"))
    challenging(world, engine, "3", MONDAY - timedelta(days=1))
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        live(world, engine, weeks, tables, day)

    decision = monitor.run(world, brief, WEDNESDAY)

    pointer = pointer_of(world)
    assert decision.action is Action.WITHDRAW
    assert (pointer.version, pointer.challenger) == ("1", None)


def test_a_trial_is_judged_on_the_flights_since_it_began(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    """The same candidate was in the shadow on Monday, by hand."""
    release.challenge(world.releases, "2")
    live(world, engine, weeks, tables, MONDAY)
    challenging(world, engine, "2", MONDAY)
    live(world, engine, weeks, tables, TUESDAY)

    context = DayContext(world, params, engine, TUESDAY, midnight(WEDNESDAY))
    trial = monitor.observe(context, pointer_of(world), ()).trial

    assert trial is not None
    landed = weeks.loc[weeks["day"] == pd.Timestamp(TUESDAY), "label"].count()
    assert (trial.role, trial.version, trial.days) == ("candidate", "2", 1)
    assert 0 < trial.entities <= landed
    assert trial.low is None


def test_a_day_that_was_looked_at_is_not_looked_at_again(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    challenging(world, engine, "2", MONDAY - timedelta(days=1))
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        live(world, engine, weeks, tables, day)
    first, rows, pointer = monitor.run(world, params, WEDNESDAY), decided(engine), pointer_of(world)

    second = monitor.run(world, params, WEDNESDAY)

    assert (second, decided(engine), pointer_of(world)) == (first, rows, pointer)
    assert [kind for kind, _ in decided(engine, "monitor", "policy")] == ["monitor", "policy"]


def quarantined(engine: sa.Engine, at: datetime) -> None:
    evidence = {"batch": "2013-02-18 weather", "day": "2013-02-18", "rows": 72, "reason": "pressure in inches"}
    database.record_decision(engine, "quarantine", "set aside", evidence, at)


def test_a_day_that_was_cut_off_before_its_decision_still_stops_on_its_alerts(
    world: Settings, engine: sa.Engine, params: Params
) -> None:
    quarantined(engine, midnight(TUESDAY) - timedelta(hours=1))
    whole = monitor.run(world, params, MONDAY)
    with engine.begin() as connection:
        connection.execute(sa.delete(database.decisions).where(database.decisions.c.kind == "policy"))

    resumed = monitor.run(world, params, MONDAY)

    assert whole.action is Action.STOP
    assert resumed == whole


@pytest.mark.parametrize("seconds", [-3600, 0])
def test_a_broken_batch_is_told_on_one_day(seconds: int, world: Settings, engine: sa.Engine, params: Params) -> None:
    """Also when it came with the last materialisation of the day, at midnight."""
    quarantined(engine, midnight(TUESDAY) + timedelta(seconds=seconds))

    told = [figures(world, engine, params, day)["quarantined_batches"] for day in (MONDAY, TUESDAY)]

    assert told == [1, 0]


def test_days_that_the_monitor_missed_are_looked_at_when_it_is_back(engine: sa.Engine) -> None:
    def looked_at(day: date) -> None:
        database.record_decision(engine, "monitor", "calm", {"day": str(day)}, midnight(day + timedelta(days=1)))

    assert monitor.due(engine, TUESDAY) == [TUESDAY]
    looked_at(MONDAY)
    assert monitor.due(engine, TUESDAY) == [TUESDAY]
    assert monitor.due(engine, WEDNESDAY) == [TUESDAY, WEDNESDAY]
    assert monitor.due(engine, MONDAY) == [MONDAY]
    looked_at(WEDNESDAY)
    looked_at(TUESDAY)  # asked for by hand
    assert monitor.due(engine, WEDNESDAY) == [WEDNESDAY]
    looked_at(date(2013, 12, 31))
    assert monitor.due(engine, TUESDAY) == [TUESDAY], "2013's feed has begun its year again"


def test_a_day_that_is_looked_at_late_knows_nothing_of_those_that_came_after(
    world: Settings, engine: sa.Engine, params: Params, weeks: pd.DataFrame, tables: Tables
) -> None:
    rule = AlertRule(tier=2, above=0.5, days=2, of=2, reason="two days together")
    params = params.model_copy(update={"monitor": params.monitor.model_copy(update={"alerts": {"silent": rule}})})
    live(world, engine, weeks, tables, WEDNESDAY)  # nobody asked on the two days before
    for day in (MONDAY, WEDNESDAY, TUESDAY):
        monitor.run(world, params, day)

    raised = {row.evidence["day"]: bool(row.evidence["alerts"]) for row in database.decisions_of(engine, "monitor")}

    assert raised == {str(MONDAY): False, str(TUESDAY): True, str(WEDNESDAY): False}


def test_where_nothing_answers_there_is_nothing_to_watch(world: Settings, params: Params) -> None:
    (world.releases / release.POINTER).unlink()

    with pytest.raises(NoRelease, match="no release yet"):
        monitor.run(world, params, MONDAY)


def figures(settings: Settings, engine: sa.Engine, params: Params, day: date) -> Mapping[str, float | None]:
    context = DayContext(settings, params, engine, day, midnight(day + timedelta(days=1)))
    champion = release.verify(settings.releases / pointer_of(settings).version)
    return daily_metrics.read_metrics(context, champion, daily_metrics.read_window(context, champion))


@pytest.mark.parametrize("days", [(), (MONDAY, TUESDAY, WEDNESDAY)])
def test_every_rule_names_a_figure_that_is_told(
    days: tuple[date, ...], world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    for day in days:
        live(world, engine, weeks, tables, day)

    told = figures(world, engine, params, WEDNESDAY)

    assert params.monitor.alerts.keys() <= told.keys()


def test_the_days_figures_are_those_of_its_flights(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        live(world, engine, weeks, tables, day)
    with engine.begin() as connection:  # a tenth of Wednesday's flights were answered without features
        alone = database.predictions.c.entity_id.like("%-201302201__0Z")
        count = connection.execute(sa.update(database.predictions).where(alone).values(features="request")).rowcount

    told = figures(world, engine, params, WEDNESDAY)

    days = weeks.set_index("day")["label"]
    assert told["request_only_share"] == round(count / len(days.loc[[pd.Timestamp(WEDNESDAY)]]), 4)
    assert told["unlabelled_share"] == round(float(days.loc[[pd.Timestamp(MONDAY)]].isna().mean()), 4)
    assert told["unseen_share"] is not None
    assert told["auc"] is not None
    assert told["auc"] > 0.6
    assert (told["prediction_psi"], told["feature_psi"]) == (None, None)


def test_every_so_often_drift_is_told_and_kept(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    params = params.model_copy(update={"monitor": params.monitor.model_copy(update={"drift_every_days": 7})})
    live(world, engine, weeks, tables, SUNDAY)

    told = figures(world, engine, params, SUNDAY)

    assert params.monitor.alerts.keys() <= told.keys()
    assert told["prediction_psi"] is not None
    assert told["feature_psi"] == max(value or 0 for name, value in told.items() if name.startswith("psi "))
    assert len(list(world.evidently.rglob("snapshots/*.json"))) == 4


BROKEN_AT = datetime(2013, 7, 10, 16, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def broken_july(raw: Tables) -> Tables:
    """The weather of July 9 came in inches of mercury."""
    part = sources.cut(raw, BROKEN_AT - timedelta(days=8), BROKEN_AT + timedelta(days=9))
    weather = part["weather"]
    pressure, ninth = weather["pressure_mb"], weather["local_hour"].dt.normalize() == "2013-07-09"
    return {**part, "weather": weather.assign(pressure_mb=pressure.mask(ninth, pressure * 0.02953))}


def step(settings: Settings, params: Params, feed: Tables, now: datetime) -> materialise.Stored:
    return materialise.step(settings, params, now, lambda start, end: sources.cut(feed, start, end))


def test_a_broken_batch_is_kept_with_its_reason_and_flights_go_on(
    world: Settings, engine: sa.Engine, params: Params, broken_july: Tables
) -> None:
    stored = step(world, params, broken_july, BROKEN_AT)

    assert stored.entities > 500
    assert "quarantined: 2013-07-09 weather" in str(stored)
    assert decided(engine) == [("quarantine", "set aside")]
    kept = pd.read_parquet(world.quarantine / "2013-07-09-weather.parquet")
    assert len(kept) == 72
    assert "weather.pressure_mb" in (world.quarantine / "2013-07-09-weather.txt").read_text()


def test_a_broken_batch_is_told_once_however_long_it_lies_there(
    world: Settings, engine: sa.Engine, params: Params, broken_july: Tables
) -> None:
    """It grows until the day is over, and five days later the feed's window moves on over it."""
    for hours in (-24, -20, -11, 0, 0, 96, 114):
        step(world, params, broken_july, BROKEN_AT + timedelta(hours=hours))

    assert decided(engine) == [("quarantine", "set aside")]
    assert len(pd.read_parquet(world.quarantine / "2013-07-09-weather.parquet")) == 72


def rows_in(engine: sa.Engine) -> list[Any]:
    with engine.connect() as connection:
        return [connection.execute(sa.select(table).order_by(table.c.entity_id)).all() for table in (
            database.entities, database.features, database.outcomes)]  # fmt: skip


def test_a_moment_that_is_materialised_twice_leaves_the_same_rows(
    world: Settings, engine: sa.Engine, params: Params, broken_july: Tables
) -> None:
    step(world, params, broken_july, BROKEN_AT)
    once = rows_in(engine)

    step(world, params, broken_july, BROKEN_AT)

    assert rows_in(engine) == once
    assert all(once)


def said(engine: sa.Engine, kind: str, verdict: str, day: date) -> None:
    database.record_decision(engine, kind, verdict, {"day": str(day), "reason": "for a test"})


def test_a_retraining_is_asked_for_until_it_is_done(engine: sa.Engine) -> None:
    asked = [retrain.asked_for(engine)]
    for kind, verdict, day in (
        ("policy", "nothing", MONDAY),
        ("policy", "retrain", TUESDAY),
        ("policy", "nothing", WEDNESDAY),
        ("retraining", "begun", TUESDAY),
        ("retrained", "done", TUESDAY),
        ("policy", "retrain", SUNDAY),
    ):
        said(engine, kind, verdict, day)
        asked.append(retrain.asked_for(engine))

    assert asked == [None, None, TUESDAY, TUESDAY, TUESDAY, None, SUNDAY]


def test_a_retraining_holds_out_the_last_days_and_knows_nothing_of_tomorrow(params: Params) -> None:
    day = date(2013, 5, 31)
    asked = {"train_days": 1, "candidates": ["lightgbm"], "valid_days": 3, "test_days": 10}
    params = params.model_copy(update={"retrain": Retrain.model_validate(asked)})

    window = retrain.window(params, day, midnight(day + timedelta(days=1)))

    told = {name: yaml.safe_load(value) for name, value in window.items()}
    assert told == {
        "dataset": "flights-2013",
        "known_until": "2013-06-01T04:00:00+00:00",
        "split.train_from": "2013-01-01",
        "split.valid_from": "2013-05-19",
        "split.test_from": "2013-05-22",
        "split.test_until": "2013-06-01",
        "train.candidates": ["lightgbm"],
        "train.ablations": False,
        "evaluate.full_card": False,
    }


def test_a_retraining_changes_nothing_but_parameters_that_there_are(params: Params) -> None:
    window = retrain.window(params, WEDNESDAY, midnight(WEDNESDAY + timedelta(days=1)))
    plain = params.model_dump(mode="json")
    for name, value in window.items():
        *sections, last = name.split(".")
        section = plain
        for each in sections:
            section = section[each]
        assert last in section
        section[last] = yaml.safe_load(value)

    changed = Params.model_validate(plain)

    assert changed.known_until == midnight(WEDNESDAY + timedelta(days=1))
    assert changed.split.test_until - changed.split.test_from == timedelta(days=params.retrain.test_days)
    assert changed.train.candidates == params.retrain.candidates


def test_a_retraining_at_the_beginning_of_a_year_has_nothing_to_learn_from(settings: Settings, params: Params) -> None:
    told = retrain.run(settings, params, date(2013, 2, 10))

    assert told == "17 days of flights-2013 are left to train on, at least 21 are needed"
    done = database.last_decision(database.connect(settings.database_url), "retrained")
    assert done is not None
    assert done.verdict == "too early"


def test_the_policy_does_not_ask_for_what_would_come_too_early(
    world: Settings, engine: sa.Engine, params: Params, weeks: pd.DataFrame, tables: Tables
) -> None:
    asked = params.model_copy(update={"retrain": params.retrain.model_copy(update={"train_days": 60})})
    live(world, engine, weeks, tables, TUESDAY)

    seen = monitor.observe(DayContext(world, asked, engine, TUESDAY, midnight(WEDNESDAY)), pointer_of(world), ())

    assert seen.too_early == "26 days of flights-2013 are left to train on, at least 60 are needed"


@pytest.mark.slow
def test_a_retraining_that_is_cut_off_leaves_nothing_running(tmp_path: Path) -> None:
    class CutOff(Exception):
        pass

    def cut_off(*_: object) -> None:
        raise CutOff

    before = signal.signal(signal.SIGALRM, cut_off)
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(CutOff):
            retrain._run(["bash", "-c", f"sleep 600 & echo $! > {tmp_path}/stage; wait"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    stage = int((tmp_path / "stage").read_text())
    wait_for(lambda: not _runs(stage))


def _runs(process: int) -> bool:
    """A process that has ended but has no parent to tell it to is no longer running."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_retraining_waits_for_the_trial_that_is_under_way(world: Settings, engine: sa.Engine, params: Params) -> None:
    release.challenge(world.releases, "2")

    assert retrain.run(world, params, MONDAY) == "release 2 is on trial; a retraining would end that"
    assert decided(engine) == []


@pytest.mark.parametrize("year", [2014, 2020, 2026, 2040])
@pytest.mark.parametrize("month", [1, 3, 7, 12])
def test_the_feeds_clock_shows_the_same_season_and_weekday(
    year: int, month: int, settings: Settings, params: Params
) -> None:
    today = datetime(year, month, 15, 12, tzinfo=UTC)

    then = today - timedelta(weeks=feed_clock.weeks_behind(settings, params, today))

    assert then.weekday() == today.weekday()
    assert abs(then - datetime(2013, month, 15, 12, tzinfo=UTC)) <= timedelta(days=4)


@pytest.mark.parametrize("year", range(2014, 2042))
@pytest.mark.parametrize(("month", "day"), [(1, 1), (12, 31)])
def test_at_new_years_the_feed_is_still_in_its_year(
    year: int, month: int, day: int, settings: Settings, params: Params
) -> None:
    today = datetime(year, month, day, 12, tzinfo=UTC)

    then = today - timedelta(weeks=feed_clock.weeks_behind(settings, params, today))

    assert then.year == 2013
    assert then.weekday() == today.weekday()


def test_the_feeds_clock_can_be_set(settings: Settings, params: Params) -> None:
    live_feed = settings.model_copy(update={"weeks_behind": 0})

    assert feed_clock.weeks_behind(live_feed, params, datetime(2026, 7, 1, tzinfo=UTC)) == 0


def test_performance_is_told_by_day_release_and_slice(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params, tmp_path: Path
) -> None:
    sunday = MONDAY - timedelta(days=1)  # one that the models were trained on
    for day in (sunday, MONDAY, TUESDAY):
        live(world, engine, weeks, tables, day)
    flights = weeks["day"].value_counts()

    told = performance_report.measured(world, params, midnight(SUNDAY))

    assert told is not None
    page = performance_report.write(told, tmp_path).read_text()
    read = json.loads((tmp_path / "performance.json").read_text())
    asked = {str(day): int(flights[pd.Timestamp(day)]) for day in (MONDAY, TUESDAY)}
    assert {day: each["entities"] for day, each in read["days"].items()} == asked
    assert read["trained_on"] == flights[pd.Timestamp(sunday)]
    assert read["groups"]["version"].keys() == {"1"}
    for group in read["groups"].values():
        assert sum(each["entities"] for each in group.values()) == sum(asked.values())
    low, high = read["whole"]["intervals"]["log_loss"]
    assert low < read["whole"]["scores"]["log_loss"] < high
    assert f'<th scope="row">1</th><td class="number">{sum(asked.values()):,}</td>' in page
    assert "the release that answered was trained on those days" in page
    for cut in ("origin", "carrier", "hour", "distance", "month", "version", "day"):
        assert f"<h2>By {cut}</h2>" in page


@pytest.mark.parametrize("day", [MONDAY, MONDAY - timedelta(days=1)], ids=["too early", "a day of the training"])
def test_performance_without_an_outcome_is_said_to_be_nothing(
    day: date, world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params, tmp_path: Path
) -> None:
    assert performance_report.measured(world, params, midnight(SUNDAY)) is None
    live(world, engine, weeks, tables, day)

    told = performance_report.measured(world, params, midnight(MONDAY))

    assert told is not None
    assert told.whole.labelled == 0
    page = performance_report.write(told, tmp_path).read_text()
    assert "neither good nor bad" in page
    assert '<p class="empty">No outcomes yet' in page
    assert "<svg" not in page
