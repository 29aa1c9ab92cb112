"""The daily monitor decides once per day, and the loop closes: a bad release is rolled back, a good one promoted."""

from datetime import UTC, date, datetime, timedelta

import pandas as pd
import pytest
import sqlalchemy as sa

from monitoring.daily_metrics import DayContext
from monitoring.policy import Action
from ontime import database, database_tables, local_time, release, release_pointer
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import AlertRule, Params
from ontime.release_pointer import NoRelease
from ontime.settings import Settings
from pipelines.operations import apply_policy, feed_clock, monitor, release_commands
from tests.production import (
    MONDAY,
    TUESDAY,
    WEDNESDAY,
    aliases,
    pointer_of,
    record_gate_pass,
    record_quarantine,
    simulate_day,
    start_challenge,
    verdicts,
)
from tests.small_world import Small

pytestmark = pytest.mark.slow


def test_a_bad_release_is_rolled_back_automatically(
    world: Settings, engine: sa.Engine, inverted: Small, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    """It passed the gate by accident and is live; its predecessor scores the same flights."""
    release.publish(world.releases, inverted.contents, inverted.manifest("3"))
    start_challenge(world, engine, "3", MONDAY - timedelta(days=7))
    apply_policy.carry_out(world, engine, Action.PROMOTE, "3", MONDAY - timedelta(days=1), midnight(MONDAY))

    actions = []
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        simulate_day(world, engine, weeks, tables, day)
        actions.append(monitor.run(world, params, day).action)

    pointer = pointer_of(world)
    assert actions == [Action.NOTHING, Action.NOTHING, Action.ROLL_BACK]
    assert (pointer.version, pointer.challenger, pointer.rolled_back) == ("1", None, ("3",))
    assert verdicts(engine, "policy", "promotion", "rollback") == [
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


def test_a_candidate_that_does_no_harm_is_promoted_after_its_days_in_shadow_mode(
    world: Settings, engine: sa.Engine, small: Small, weeks: pd.DataFrame, tables: Tables, short_shadow: Params
) -> None:
    release.publish(world.releases, small.contents, small.manifest("3"))
    start_challenge(world, engine, "3", MONDAY - timedelta(days=1))

    actions = []
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        simulate_day(world, engine, weeks, tables, day)
        actions.append(monitor.run(world, short_shadow, day).action)

    pointer = pointer_of(world)
    assert actions == [Action.NOTHING, Action.NOTHING, Action.PROMOTE]
    assert (pointer.version, pointer.history) == ("3", ("1",))
    assert pointer.challenger is not None
    assert pointer.challenger.version == "1"


def test_a_candidate_that_the_gate_rejected_is_not_promoted_by_the_policy(
    world: Settings, engine: sa.Engine, small: Small, weeks: pd.DataFrame, tables: Tables, short_shadow: Params
) -> None:
    """It was put in shadow mode by hand."""
    release.publish(world.releases, small.contents, small.manifest("3"))
    start_challenge(world, engine, "3", MONDAY - timedelta(days=1))
    kept = {"version": "3", "against": "release 1", "reason": "slices get worse"}
    database.record_decision(engine, "gate", "reject", kept)
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        simulate_day(world, engine, weeks, tables, day)

    decision = monitor.run(world, short_shadow, WEDNESDAY)

    assert decision.action is Action.WITHDRAW
    assert "the gate rejected release 3 in the comparison with release 1: slices get worse" in decision.reason
    assert (pointer_of(world).version, pointer_of(world).challenger) == ("1", None)


def test_a_candidate_that_is_worse_in_shadow_mode_is_withdrawn(
    world: Settings, engine: sa.Engine, inverted: Small, weeks: pd.DataFrame, tables: Tables, short_shadow: Params
) -> None:
    release.publish(world.releases, inverted.contents, inverted.manifest("3"))
    start_challenge(world, engine, "3", MONDAY - timedelta(days=1))
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        simulate_day(world, engine, weeks, tables, day)

    decision = monitor.run(world, short_shadow, WEDNESDAY)

    pointer = pointer_of(world)
    assert decision.action is Action.WITHDRAW
    assert (pointer.version, pointer.challenger) == ("1", None)


def test_a_trial_counts_the_flights_since_it_started(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    """The same candidate was in shadow mode on Monday, by hand."""
    release_pointer.set_challenger(world.releases, "2")
    simulate_day(world, engine, weeks, tables, MONDAY)
    start_challenge(world, engine, "2", MONDAY)
    simulate_day(world, engine, weeks, tables, TUESDAY)

    context = DayContext(world, params, engine, TUESDAY, midnight(WEDNESDAY))
    trial = monitor.observe(context, pointer_of(world), ()).trial

    assert trial is not None
    landed = weeks.loc[weeks["day"] == pd.Timestamp(TUESDAY), "label"].count()
    assert (trial.role, trial.version, trial.days) == ("candidate", "2", 1)
    assert 0 < trial.entities <= landed
    assert trial.low is None


def test_what_a_person_started_is_dated_by_the_feeds_clock(
    world: Settings, engine: sa.Engine, params: Params, small: Small
) -> None:
    """Their decisions are recorded at the real time, many years after the data of this monitor."""
    today = local_time.day_of(datetime.now(UTC))
    world = world.model_copy(update={"weeks_behind": (today - MONDAY).days // 7})
    day = local_time.day_of(feed_clock.now(world, params))
    release.publish(world.releases, small.contents, small.manifest("3"))
    record_gate_pass(engine, "3", midnight(MONDAY))

    release_commands.challenge(world, "2", 0)
    release_commands.promote(world, "3")
    release_commands.challenge(world, "2", 0)
    context = DayContext(world, params, engine, day + timedelta(days=3), midnight(day + timedelta(days=4)))
    state = monitor.observe(context, pointer_of(world), ())

    assert state.champion_since == day
    assert state.trial is not None
    assert (state.trial.version, state.trial.days) == ("2", 4)


def test_a_monitored_day_is_not_monitored_again(
    world: Settings, engine: sa.Engine, weeks: pd.DataFrame, tables: Tables, params: Params
) -> None:
    start_challenge(world, engine, "2", MONDAY - timedelta(days=1))
    for day in (MONDAY, TUESDAY, WEDNESDAY):
        simulate_day(world, engine, weeks, tables, day)
    first, rows, pointer = monitor.run(world, params, WEDNESDAY), verdicts(engine), pointer_of(world)

    second = monitor.run(world, params, WEDNESDAY)

    assert (second, verdicts(engine), pointer_of(world)) == (first, rows, pointer)
    assert [kind for kind, _ in verdicts(engine, "monitor", "policy")] == ["monitor", "policy"]


def test_a_day_interrupted_before_its_decision_still_stops_on_its_alerts(
    world: Settings, engine: sa.Engine, params: Params
) -> None:
    record_quarantine(engine, midnight(TUESDAY) - timedelta(hours=1))
    whole = monitor.run(world, params, MONDAY)
    with engine.begin() as connection:
        connection.execute(sa.delete(database_tables.decisions).where(database_tables.decisions.c.kind == "policy"))

    resumed = monitor.run(world, params, MONDAY)

    assert whole.action is Action.STOP
    assert resumed == whole


def test_missed_days_are_monitored_later(engine: sa.Engine) -> None:
    def record_monitored(day: date) -> None:
        database.record_decision(engine, "monitor", "ok", {"day": str(day)}, midnight(day + timedelta(days=1)))

    assert monitor.days_to_monitor(engine, TUESDAY) == [TUESDAY]
    record_monitored(MONDAY)
    assert monitor.days_to_monitor(engine, TUESDAY) == [TUESDAY]
    assert monitor.days_to_monitor(engine, WEDNESDAY) == [TUESDAY, WEDNESDAY]
    assert monitor.days_to_monitor(engine, MONDAY) == [MONDAY]
    record_monitored(WEDNESDAY)
    record_monitored(TUESDAY)  # requested by hand
    assert monitor.days_to_monitor(engine, WEDNESDAY) == [WEDNESDAY]
    record_monitored(date(2013, 12, 31))
    assert monitor.days_to_monitor(engine, TUESDAY) == [TUESDAY], "the feed of 2013 has started again"


def test_a_day_that_is_monitored_late_ignores_later_days(
    world: Settings, engine: sa.Engine, params: Params, weeks: pd.DataFrame, tables: Tables
) -> None:
    rule = AlertRule(tier=2, above=0.5, days=2, of=2, reason="two days together")
    params = params.model_copy(update={"monitor": params.monitor.model_copy(update={"alerts": {"silent": rule}})})
    for day in (MONDAY - timedelta(days=1), WEDNESDAY):  # no predictions on the two days between
        simulate_day(world, engine, weeks, tables, day)
    for day in (MONDAY, WEDNESDAY, TUESDAY):
        monitor.run(world, params, day)

    raised = {row.evidence["day"]: bool(row.evidence["alerts"]) for row in database.decisions_of(engine, "monitor")}

    assert raised == {str(MONDAY): False, str(TUESDAY): True, str(WEDNESDAY): False}


def test_monitoring_without_a_release_is_refused(world: Settings, params: Params) -> None:
    (world.releases / release_pointer.POINTER).unlink()

    with pytest.raises(NoRelease, match="no release yet"):
        monitor.run(world, params, MONDAY)


def test_the_policy_knows_that_it_is_too_early_for_a_retraining(
    world: Settings, engine: sa.Engine, params: Params, weeks: pd.DataFrame, tables: Tables
) -> None:
    longer = params.model_copy(update={"retrain": params.retrain.model_copy(update={"train_days": 60})})
    simulate_day(world, engine, weeks, tables, TUESDAY)

    observed = monitor.observe(DayContext(world, longer, engine, TUESDAY, midnight(WEDNESDAY)), pointer_of(world), ())

    assert (
        observed.too_early == "26 days of flights-2013 are available for training, and retrain.train_days requires 60"
    )
