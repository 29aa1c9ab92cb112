"""A decision of the policy moves a release once, even if it is interrupted, repeated or preceded by a move by hand."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from monitoring.policy import Action
from ontime import database, registry, release, release_pointer
from ontime.local_time import midnight
from ontime.release_pointer import Pointer
from ontime.settings import Settings
from pipelines.operations import apply_policy, transition_log
from tests.production import MONDAY, TUESDAY, aliases, pointer_of, start_challenge, verdicts
from tests.small_world import Small

pytestmark = pytest.mark.slow


def carry_out(settings: Settings, engine: sa.Engine, action: Action, version: str | None) -> Pointer:
    apply_policy.carry_out(settings, engine, action, version, MONDAY, midnight(TUESDAY))
    return pointer_of(settings)


def start_trial(settings: Settings, engine: sa.Engine, action: Action) -> None:
    """Release 2 challenges; before a rollback it serves traffic, and its predecessor challenges."""
    before = MONDAY - timedelta(days=7)
    start_challenge(settings, engine, "2", before)
    if action is Action.ROLL_BACK:
        apply_policy.carry_out(settings, engine, Action.PROMOTE, "2", before, midnight(MONDAY))


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_promoted_candidate_is_live_and_its_predecessor_becomes_its_shadow(
    world: Settings, engine: sa.Engine
) -> None:
    start_challenge(world, engine, "2", MONDAY - timedelta(days=7))

    pointer = carry_out(world, engine, Action.PROMOTE, "2")

    assert (pointer.version, pointer.history, pointer.rolled_back) == ("2", ("1",), ())
    assert pointer.challenger is not None
    assert (pointer.challenger.version, pointer.challenger.share) == ("1", 0)
    assert verdicts(engine, "promotion") == [("promotion", "by the policy")]
    assert aliases(world) == {"champion": "2", "challenger": "1"}


@pytest.mark.parametrize("action", [Action.PROMOTE, Action.ROLL_BACK])
def test_a_move_that_was_prevented_by_hand_is_not_recorded(action: Action, world: Settings, engine: sa.Engine) -> None:
    release_pointer.set_challenger(world.releases, None)

    pointer = carry_out(world, engine, action, "2")

    assert (pointer.version, pointer.history) == ("1", ())
    assert verdicts(engine) == []


def test_a_withdrawal_leaves_the_champion_unchanged(world: Settings, engine: sa.Engine) -> None:
    release_pointer.set_challenger(world.releases, "2")

    pointer = carry_out(world, engine, Action.WITHDRAW, "2")

    assert (pointer.version, pointer.challenger, pointer.history) == ("1", None, ())
    assert verdicts(engine) == [("challenge", "withdrawn")]
    assert aliases(world) == {"champion": "1"}


def test_the_end_of_a_watch_ends_the_shadow_and_keeps_the_rollback_possible(world: Settings, engine: sa.Engine) -> None:
    release_pointer.set_live(world.releases, "2", watched=True)

    pointer = carry_out(world, engine, Action.WITHDRAW, "1")

    assert (pointer.version, pointer.challenger, pointer.history) == ("2", None, ("1",))
    assert verdicts(engine) == [("challenge", "withdrawn")]


def test_a_rolled_back_release_is_remembered_and_does_not_challenge(world: Settings, engine: sa.Engine) -> None:
    release_pointer.set_live(world.releases, "2", watched=True)

    pointer = carry_out(world, engine, Action.ROLL_BACK, "1")

    assert (pointer.version, pointer.challenger, pointer.history) == ("1", None, ())
    assert pointer.rolled_back == ("2",)
    assert verdicts(engine) == [("rollback", "by the policy")]
    assert aliases(world) == {"champion": "1"}


@pytest.mark.parametrize(
    ("action", "version"), [(Action.PROMOTE, "2"), (Action.WITHDRAW, "2"), (Action.ROLL_BACK, "1")]
)
def test_carrying_out_a_decision_again_changes_nothing(
    action: Action, version: str, world: Settings, engine: sa.Engine
) -> None:
    start_trial(world, engine, action)
    before = verdicts(engine)

    first, rows = carry_out(world, engine, action, version), verdicts(engine)
    second = carry_out(world, engine, action, version)

    assert (second, verdicts(engine)) == (first, rows)
    assert len(rows) == len(before) + 1


@pytest.mark.parametrize(
    ("action", "version"), [(Action.PROMOTE, "2"), (Action.WITHDRAW, "2"), (Action.ROLL_BACK, "1")]
)
def test_a_move_that_was_interrupted_after_the_pointer_moved_is_recorded_later(
    action: Action, version: str, world: Settings, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    start_trial(world, engine, action)
    before = verdicts(engine)
    with monkeypatch.context() as patched:
        patched.setattr(transition_log, "record_move", interrupt)
        with pytest.raises(KeyboardInterrupt):
            carry_out(world, engine, action, version)
    pointer = pointer_of(world)

    again = carry_out(world, engine, action, version)

    assert again == pointer
    assert len(verdicts(engine)) == len(before) + 1
    assert verdicts(engine)[-1] == (
        apply_policy.KINDS[action],
        "withdrawn" if action is Action.WITHDRAW else "by the policy",
    )


def test_a_repeated_rollback_goes_back_only_once(world: Settings, engine: sa.Engine, small: Small) -> None:
    release.publish(world.releases, small.contents, small.manifest("3"))
    release_pointer.set_live(world.releases, "2")
    release_pointer.set_live(world.releases, "3", watched=True)

    versions = [carry_out(world, engine, Action.ROLL_BACK, "2").version for _ in range(2)]

    assert versions == ["2", "2"]


def test_a_repeated_withdrawal_does_not_withdraw_the_next_candidate(
    world: Settings, engine: sa.Engine, small: Small
) -> None:
    release.publish(world.releases, small.contents, small.manifest("3"))
    release_pointer.set_challenger(world.releases, "2")
    carry_out(world, engine, Action.WITHDRAW, "2")
    release_pointer.set_challenger(world.releases, "3")

    pointer = carry_out(world, engine, Action.WITHDRAW, "2")

    assert pointer.challenger is not None
    assert pointer.challenger.version == "3"


def test_a_candidate_that_the_gate_has_rejected_since_is_not_promoted(
    world: Settings, engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    start_challenge(world, engine, "2", MONDAY - timedelta(days=7))
    kept = {"version": "2", "against": "release 1", "reason": "slices get worse"}
    database.record_decision(engine, "gate", "reject", kept, midnight(TUESDAY))
    before = pointer_of(world)

    assert carry_out(world, engine, Action.PROMOTE, "2") == before
    assert verdicts(engine, "promotion") == []
    assert "apply_policy: release 2 is not promoted: the gate rejected release 2" in capsys.readouterr().err


@pytest.mark.parametrize("action", [Action.NOTHING, Action.STOP, Action.RETRAIN])
@pytest.mark.parametrize("version", [None, "2"])
def test_other_decisions_move_nothing(action: Action, version: str | None, world: Settings, engine: sa.Engine) -> None:
    release_pointer.set_challenger(world.releases, "2")
    before = pointer_of(world)

    assert carry_out(world, engine, action, version) == before
    assert verdicts(engine) == []


def test_a_candidate_that_fails_its_probes_is_never_promoted(
    world: Settings, engine: sa.Engine, small: Small, other: Small
) -> None:
    """Its digests are valid, but its probabilities for the probes are not those of the training."""
    contents = {**small.contents, release.MODEL: other.contents[release.MODEL]}
    digests = Small(contents, small.categories, small.label, small.probability).manifest("3")
    release.publish(world.releases, contents, digests)
    release_pointer.set_challenger(world.releases, "3")
    before = pointer_of(world)

    with pytest.raises(release.ReleaseRefused, match=r"release 3: .* gets"):
        carry_out(world, engine, Action.PROMOTE, "3")

    assert pointer_of(world) == before
    assert verdicts(engine) == []


def test_a_move_succeeds_without_mlflow_and_reports_it(
    world: Settings, engine: sa.Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    client = registry.tracking_client(world.tracking_url, world.artifacts)
    client.delete_registered_model(registry.NAME)
    start_challenge(world, engine, "2", MONDAY - timedelta(days=7))

    pointer = carry_out(world, engine, Action.PROMOTE, "2")

    assert pointer.version == "2"
    assert verdicts(engine, "promotion") == [("promotion", "by the policy")]
    assert "transitions: MLflow's alias champion was not moved" in capsys.readouterr().err
