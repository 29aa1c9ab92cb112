"""The policy as a table: the state at the end of a day, the action, and its reason."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitoring.alerts import Alert, Tier
from monitoring.policy import Action, DayState, Decision, Trial, choose_action
from ontime.params import Policy

# Not the values of params.yaml, so that tuning those does not break the table.
POLICY = Policy(
    refresh_days=28,
    cooldown_days=14,
    budget=3,
    budget_days=56,
    min_labels=5000,
    shadow_days=3,
    shadow_labels=2000,
    watch_days=7,
    approval_required=False,
    margin_log_loss=0.002,
)
DAY = date(2013, 7, 1)


def alert(tier: Tier, name: str = "auc_shortfall") -> Alert:
    return Alert(name, tier, value=0.5, above=0.25, reason="for a test")


def ago(*days: int) -> tuple[date, ...]:
    return tuple(DAY - timedelta(days=each) for each in days)


def candidate(days: int = 3, flights: int = 2000, low: float | None = -0.01, high: float | None = 0.01) -> Trial:
    return Trial("candidate", "2", days, flights, low, high)


def by_hand(days: int = 3, flights: int = 2000, low: float = -0.01, high: float = 0.01) -> Trial:
    """A candidate that the gate rejected and a person made the shadow."""
    return replace(candidate(days, flights, low, high), kept_out="the gate rejected it")


def predecessor(days: int = 3, flights: int = 2000, low: float | None = -0.01, high: float | None = 0.01) -> Trial:
    return Trial("predecessor", "1", days, flights, low, high)


QUIET_DAY = DayState(
    day=DAY,
    alerts=(),
    new_labels=50_000,
    retrainings=(),
    champion_since=DAY - timedelta(days=5),
    too_early=None,
    trial=None,
)
BROKEN = (alert(Tier.STOP, "quarantined_batches"),)
WORSE = (alert(Tier.RETRAIN, "auc_shortfall"),)
SUMMER = (alert(Tier.REPORT, "feature_psi"),)
OLD, DUE = DAY - timedelta(days=27), DAY - timedelta(days=28)

STOPS = [
    ({"alerts": BROKEN}, "quarantined_batches 0.5 (limit 0.25): the champion stays live"),
    ({"alerts": (*BROKEN, *WORSE)}, "nothing is retrained on these data"),
    ({"alerts": BROKEN, "champion_since": DUE}, "quarantined_batches"),
    ({"alerts": BROKEN, "trial": candidate(low=0.01, high=0.02)}, "quarantined_batches"),
    ({"alerts": BROKEN, "trial": candidate(low=-0.02, high=-0.01)}, "quarantined_batches"),
    ({"alerts": BROKEN, "trial": predecessor(low=-0.03, high=-0.02)}, "quarantined_batches"),
]
CANDIDATES = [
    (candidate(days=2), Action.NOTHING, "release 2 has been the shadow for 2 of 3 days"),
    (candidate(flights=1999), Action.NOTHING, "with 1,999 of at least 2,000 labelled flights"),
    (candidate(low=None, high=None), Action.NOTHING, "release 2 has been the shadow"),
    (candidate(days=2, low=0.1, high=0.2), Action.NOTHING, "2 of 3 days"),
    (candidate(flights=1999, low=0.1, high=0.2), Action.NOTHING, "1,999 of"),
    (candidate(low=0.0021, high=0.02), Action.WITHDRAW, "release 2 is worse than the champion: "),
    (candidate(low=0.0020, high=0.02), Action.PROMOTE, "passed the gate and is not significantly worse than the"),
    (candidate(low=-0.01, high=0.01), Action.PROMOTE, "-0.0100 to +0.0100 over 2,000 flights"),
    (candidate(low=-0.03, high=-0.02), Action.PROMOTE, "release 2"),
    (candidate(days=30, flights=90_000), Action.PROMOTE, "over 90,000 flights"),
    (by_hand(days=2), Action.NOTHING, "2 of 3 days"),
    (by_hand(low=0.0021, high=0.02), Action.WITHDRAW, "release 2 is worse than the champion: "),
    (by_hand(low=-0.03, high=-0.02), Action.WITHDRAW, "but the gate rejected it. Only a person may promote it"),
]  # fmt: skip
PREDECESSORS = [
    # The interval is of the predecessor's loss minus the champion's: below zero, the new champion is worse.
    (predecessor(low=-0.03, high=-0.0021), Action.ROLL_BACK, "is worse than release 1 on the same new flights"),
    (predecessor(days=2, low=-0.03, high=-0.02), Action.ROLL_BACK, "-0.0300 to -0.0200 over 2,000 flights"),
    (predecessor(days=7, low=-0.03, high=-0.02), Action.ROLL_BACK, "worse than release 1"),
    (predecessor(low=-0.03, high=-0.0020), Action.NOTHING, "compared with release 1 for 3 of 7 days"),
    (predecessor(flights=1999, low=-0.03, high=-0.02), Action.NOTHING, "3 of 7 days"),
    (predecessor(days=1, low=None, high=None), Action.NOTHING, "1 of 7 days"),
    (predecessor(days=6), Action.NOTHING, "6 of 7 days"),
    (predecessor(days=7), Action.WITHDRAW, "not significantly worse than release 1 after 7 days"),
    (predecessor(days=7, low=-0.03, high=-0.0020), Action.WITHDRAW, "not significantly worse than release 1"),
    (predecessor(days=7, flights=1999), Action.NOTHING, "7 of 7 days"),
    (predecessor(days=7, low=None, high=None), Action.NOTHING, "7 of 7 days"),
    (predecessor(days=30, low=0.01, high=0.02), Action.WITHDRAW, "after 30 days"),
]  # fmt: skip
RETRAININGS = [
    ({}, Action.NOTHING, "nothing is wrong"),
    ({"alerts": WORSE}, Action.RETRAIN, "auc_shortfall 0.5 (limit 0.25)"),
    ({"alerts": WORSE, "retrainings": ago(13)}, Action.NOTHING, "last retraining was 13 days ago, the cooldown is 14"),
    ({"alerts": WORSE, "retrainings": ago(14)}, Action.RETRAIN, "auc_shortfall"),
    ({"alerts": WORSE, "retrainings": ago(55, 35, 15)}, Action.NOTHING, "3 retrainings in 56 days is used up"),
    ({"alerts": WORSE, "retrainings": ago(56, 35, 15)}, Action.RETRAIN, "auc_shortfall"),
    ({"alerts": WORSE, "new_labels": 4999}, Action.NOTHING, "only 4,999 new labelled flights"),
    ({"alerts": WORSE, "new_labels": 5000}, Action.RETRAIN, "auc_shortfall"),
    ({"alerts": WORSE, "too_early": "3 days are left"}, Action.NOTHING, "(limit 0.25); but 3 days are left"),
    ({"champion_since": DUE, "too_early": "3 days are left"}, Action.NOTHING, "the maximum is 28; but 3 days are left"),
    ({"champion_since": OLD}, Action.NOTHING, "nothing is wrong"),
    ({"champion_since": DUE}, Action.RETRAIN, "28 days since the last training, the maximum is 28"),
    ({"champion_since": DUE, "retrainings": ago(27)}, Action.NOTHING, "nothing is wrong"),
    ({"champion_since": DUE, "retrainings": ago(40, 28)}, Action.RETRAIN, "28 days since the last training"),
    ({"champion_since": DUE, "new_labels": 0}, Action.NOTHING, "the maximum is 28; but only 0 new labelled"),
    ({"alerts": SUMMER}, Action.NOTHING, "nothing is wrong"),
    ({"alerts": (*WORSE, *SUMMER)}, Action.RETRAIN, "auc_shortfall"),
]  # fmt: skip


def matches(decision: Decision, action: Action, reason: str) -> bool:
    return decision.action is action and reason in decision.reason


@pytest.mark.parametrize(("state", "reason"), STOPS)
def test_a_broken_contract_stops_everything(state: dict[str, object], reason: str) -> None:
    decision = choose_action(replace(QUIET_DAY, **state), POLICY)  # type: ignore[arg-type]  # a row of the table

    assert matches(decision, Action.STOP, reason), decision


@pytest.mark.parametrize(("trial", "action", "reason"), CANDIDATES)
def test_a_candidate_as_the_shadow(trial: Trial, action: Action, reason: str) -> None:
    decision = choose_action(replace(QUIET_DAY, trial=trial), POLICY)

    assert matches(decision, action, reason), decision


@pytest.mark.parametrize(("trial", "action", "reason"), PREDECESSORS)
def test_a_predecessor_as_the_shadow_of_the_new_champion(trial: Trial, action: Action, reason: str) -> None:
    decision = choose_action(replace(QUIET_DAY, trial=trial), POLICY)

    assert matches(decision, action, reason), decision


@pytest.mark.parametrize(("state", "action", "reason"), RETRAININGS)
def test_a_champion_alone(state: dict[str, object], action: Action, reason: str) -> None:
    decision = choose_action(replace(QUIET_DAY, **state), POLICY)  # type: ignore[arg-type]  # a row of the table

    assert matches(decision, action, reason), decision


@pytest.mark.parametrize("trial", [each for each, _, _ in (*CANDIDATES, *PREDECESSORS)])
def test_while_a_trial_runs_nothing_is_retrained(trial: Trial) -> None:
    quiet, worse = (choose_action(replace(QUIET_DAY, trial=trial, alerts=raised), POLICY) for raised in ((), WORSE))

    assert worse == quiet


def trials() -> st.SearchStrategy[Trial]:
    ends = st.floats(-0.05, 0.05)
    intervals = st.one_of(st.just((None, None)), st.tuples(ends, ends).map(lambda pair: (min(pair), max(pair))))
    return st.builds(
        lambda role, days, flights, interval: Trial(role, "9", days, flights, *interval),
        st.sampled_from(["candidate", "predecessor"]),
        st.integers(1, 12),
        st.integers(0, 4000),
        intervals,
    )


def situations() -> st.SearchStrategy[DayState]:
    days = st.integers(0, 80).map(lambda number: DAY - timedelta(days=number))
    return st.builds(
        DayState,
        day=st.just(DAY),
        alerts=st.lists(st.sampled_from(Tier).map(alert), max_size=3).map(tuple),
        new_labels=st.integers(0, 10_000),
        retrainings=st.lists(days, max_size=4).map(tuple),
        champion_since=days,
        trial=st.none() | trials(),
    )


@given(situations())
def test_seasonal_drift_never_changes_a_decision(state: DayState) -> None:
    without = tuple(each for each in state.alerts if each.tier is not Tier.REPORT)

    assert choose_action(replace(state, alerts=(*without, *SUMMER)), POLICY) == choose_action(
        replace(state, alerts=without), POLICY
    )


@given(situations(), st.integers(0, 13))
def test_no_retraining_begins_inside_the_cooldown(state: DayState, days: int) -> None:
    decision = choose_action(replace(state, retrainings=(*state.retrainings, *ago(days))), POLICY)

    assert decision.action is not Action.RETRAIN


@given(situations())
def test_a_trial_ends_or_goes_on_and_only_a_champion_without_shadow_is_retrained(state: DayState) -> None:
    action = choose_action(state, POLICY).action

    possible = {
        None: {Action.NOTHING, Action.RETRAIN, Action.STOP},
        "candidate": {Action.NOTHING, Action.PROMOTE, Action.WITHDRAW, Action.STOP},
        "predecessor": {Action.NOTHING, Action.ROLL_BACK, Action.WITHDRAW, Action.STOP},
    }
    assert action in possible[state.trial.role if state.trial else None]


@pytest.mark.parametrize("trial", [candidate(), predecessor()])
def test_a_release_that_cannot_be_loaded_is_withdrawn_at_once(trial: Trial) -> None:
    broken = replace(trial, days=1, entities=0, low=None, high=None, broken="releases/2/model.onnx: was changed")

    decision = choose_action(replace(QUIET_DAY, trial=broken), POLICY)

    assert decision.action is Action.WITHDRAW
    assert "model.onnx: was changed" in decision.reason
