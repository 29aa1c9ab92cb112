"""`make promote` checks a release: the gate's verdict, a rollback, the known outcomes of both releases."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database, online_store, release, release_pointer, signatures
from ontime.problem.request import Flight
from ontime.settings import Settings
from pipelines.operations import promote, promotion_checks, transitions
from pipelines.operations import release_commands as by_hand
from pipelines.operations.promotion_checks import blocking_reasons
from pipelines.operations.transition_log import BY_POLICY, BY_TRAINING, MoveCause
from tests.library.test_release import publish_changed
from tests.service import MORNING
from tests.small_world import Small

pytestmark = pytest.mark.slow

REJECTED = {"version": "2", "against": "release 1", "reason": "slices get worse: carrier UA: +0.0300"}
PASSED = {"version": "2", "against": "release 1", "reason": "below zero"}
OVERRIDE = "make promote VERSION=2 FORCE=1 promotes it anyway"
GATE_REJECTION = "the gate rejected release 2 in the comparison with release 1: slices get worse: carrier UA: +0.0300"


@pytest.fixture
def engine(settings: Settings) -> sa.Engine:
    return database.connect(settings.database_url)


def reasons_against(settings: Settings, engine: sa.Engine, version: str = "2") -> str | None:
    return blocking_reasons(engine, settings.releases, version)


def live_version(settings: Settings) -> str:
    pointer = release_pointer.read_pointer(settings.releases)
    assert pointer is not None
    return pointer.version


def decisions(engine: sa.Engine, kind: str) -> list[tuple[str, str]]:
    return [(row.verdict, row.evidence["reason"]) for row in database.decisions_of(engine, kind)]


def times_of(departure: datetime) -> dict[str, datetime]:
    return {"scheduled_departure": departure, "scheduled_arrival": departure + timedelta(hours=4)}


def simulate_two_days(engine: sa.Engine, challenger_when_late: float, champion_when_late: float) -> None:
    """Two days of flights, half of them late, predicted by release 1 and scored by release 2 in shadow mode."""
    flights = [
        Flight.model_validate(
            {**MORNING, **times_of(datetime(2013, 2, day, 10, 15, tzinfo=UTC)), "flight_number": number}
        )
        for day in (18, 19)
        for number in range(1, 41)
    ]
    late = {flight.entity_id: flight.flight_number % 2 == 0 for flight in flights}
    rows = [{"entity_id": each.entity_id, "event_at": each.event_at, **each.model_dump()} for each in flights]
    online_store.store_entities(engine, rows)
    answers, shadows = [], []
    for entity_id, label in late.items():
        key = database.new_prediction_ids(1)[0]
        answers.append(
            {
                "prediction_id": key,
                "entity_id": entity_id,
                "answered_at": datetime(2013, 2, 18, tzinfo=UTC),
                "model_version": "1",
                "probability": champion_when_late if label else 1 - champion_when_late,
                "alert": True,
                "features": "online",
                "vector": b"",
                "latency_ms": 1.0,
            }
        )
        probability = challenger_when_late if label else 1 - challenger_when_late
        shadows.append({"prediction_id": key, "model_version": "2", "probability": probability})
    database.log_predictions(engine, answers)
    database.log_shadows(engine, shadows)
    known_at = datetime(2013, 2, 20, tzinfo=UTC)
    outcomes = [{"entity_id": entity_id, "label": label, "known_at": known_at} for entity_id, label in late.items()]
    database.store_outcomes(engine, outcomes)


def test_nothing_blocks_a_release_that_the_gate_passed(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)

    assert reasons_against(settings, engine) is None
    assert by_hand.promote(settings, "2") == "release 2 is live"
    assert decisions(engine, "promotion") == [("by hand", "requested by hand")]


def test_a_release_that_the_gate_rejected_is_refused_with_its_reason(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "reject", REJECTED)

    with pytest.raises(transitions.TransitionRefused) as refused:
        by_hand.promote(settings, "2")

    assert str(refused.value) == f"release 2 is not promoted: {GATE_REJECTION}; {OVERRIDE}"
    assert (live_version(settings), decisions(engine, "promotion")) == ("1", [])


def test_a_forced_promotion_succeeds_and_is_recorded(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "reject", REJECTED)

    message = by_hand.promote(settings, "2", force=True)

    assert message == f"release 2 is live: forced by hand; {GATE_REJECTION}"
    assert live_version(settings) == "2"
    assert decisions(engine, "promotion") == [("forced", f"forced by hand; {GATE_REJECTION}")]


def test_force_without_a_blocking_reason_is_an_ordinary_promotion(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)

    by_hand.promote(settings, "2", force=True)

    assert decisions(engine, "promotion") == [("by hand", "requested by hand")]


@pytest.mark.parametrize("force", [False, True])
def test_promoting_again_changes_nothing(force: bool, settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "reject", REJECTED)
    by_hand.promote(settings, "2", force=True)
    before = (settings.releases / release_pointer.POINTER).read_bytes(), decisions(engine, "promotion")

    message = by_hand.promote(settings, "2", force=force)

    assert message == "release 2 is already live"
    assert ((settings.releases / release_pointer.POINTER).read_bytes(), decisions(engine, "promotion")) == before


def test_an_interrupted_forced_promotion_is_recorded_as_forced(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "reject", REJECTED)
    release_pointer.set_live(settings.releases, "2")

    by_hand.promote(settings, "2", force=True)

    assert decisions(engine, "promotion") == [("forced", f"forced by hand; {GATE_REJECTION}")]


def test_a_release_without_a_verdict_of_the_gate_is_refused(settings: Settings, engine: sa.Engine) -> None:
    assert reasons_against(settings, engine) == "the gate has no verdict on release 2"


def test_a_comparison_with_another_champion_does_not_count(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", {**PASSED, "against": "baseline rate_table"})

    assert reasons_against(settings, engine) == (
        "the gate compared release 2 with baseline rate_table, not with release 1, which is live"
    )


def test_the_last_verdict_of_the_gate_counts(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)
    database.record_decision(engine, "gate", "reject", REJECTED)

    assert reasons_against(settings, engine) == GATE_REJECTION


def test_a_release_that_is_worse_on_known_outcomes_is_refused_although_the_gate_passed_it(
    settings: Settings, engine: sa.Engine
) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)
    simulate_two_days(engine, challenger_when_late=0.5, champion_when_late=0.8)

    assert reasons_against(settings, engine) == (
        "release 2 is worse than release 1 on 80 flights with a known outcome (`make compare`): "
        "log-loss +0.4700, 95 % interval +0.4700 to +0.4700"
    )


def test_better_known_outcomes_replace_a_comparison_with_this_champion(settings: Settings, engine: sa.Engine) -> None:
    simulate_two_days(engine, challenger_when_late=0.8, champion_when_late=0.5)

    assert reasons_against(settings, engine) is None


def test_better_known_outcomes_do_not_override_the_gate(settings: Settings, engine: sa.Engine) -> None:
    """The gate also checks slices, on more flights."""
    database.record_decision(engine, "gate", "reject", REJECTED)
    simulate_two_days(engine, challenger_when_late=0.8, champion_when_late=0.5)

    assert reasons_against(settings, engine) == GATE_REJECTION


def test_a_release_that_the_policy_rolled_back_is_refused_with_its_reason(
    settings: Settings, engine: sa.Engine
) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)
    release_pointer.set_live(settings.releases, "2")
    release_pointer.revert(settings.releases)
    row = {"action": "roll back", "champion": "2", "version": "1", "reason": "worse than release 1 on the same flights"}
    database.record_decision(engine, "policy", "roll back", row)

    assert reasons_against(settings, engine) == (
        "release 2 was rolled back by the policy: worse than release 1 on the same flights"
    )


def test_a_rollback_by_hand_blocks_until_it_is_overridden(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)
    by_hand.promote(settings, "2")
    by_hand.roll_back(settings)
    remembered = reasons_against(settings, engine)

    by_hand.promote(settings, "2", force=True)

    assert remembered == "release 2 was rolled back by hand"
    assert reasons_against(settings, engine) is None


def test_a_rollback_that_only_the_pointer_records_blocks_too(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)
    release_pointer.set_live(settings.releases, "2")
    release_pointer.revert(settings.releases)

    assert reasons_against(settings, engine) == "release 2 was rolled back"


@pytest.mark.parametrize(
    "command",
    [
        lambda settings: by_hand.promote(settings, "9"),
        lambda settings: by_hand.promote(settings, "9", force=True),
        lambda settings: by_hand.challenge(settings, "9", 0),
    ],
)
def test_a_release_that_fails_its_probes_is_never_moved(
    command: Callable[[Settings], str], settings: Settings, engine: sa.Engine, small: Small, other: Small
) -> None:
    publish_changed(small, settings.releases, model_onnx=other.contents[release.MODEL])
    before = (settings.releases / release_pointer.POINTER).read_bytes()

    with pytest.raises(release.ReleaseRefused, match=r"release 9: .* gets 0\.\d+, not .* so FORCE=1 does not help"):
        command(settings)

    assert (settings.releases / release_pointer.POINTER).read_bytes() == before
    assert [*decisions(engine, "promotion"), *decisions(engine, "challenge")] == []


def test_a_canary_of_a_rejected_release_starts_with_a_warning(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "reject", REJECTED)

    message = by_hand.challenge(settings, "2", 0.1)

    assert message.endswith(f"serves 10.0% of the flights, and scores all of them. Warning: {GATE_REJECTION}")
    assert decisions(engine, "challenge") == [("share 0.1", GATE_REJECTION)]


@pytest.fixture
def approval_required(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("policy: {approval_required: true}\n")
    monkeypatch.setattr(promotion_checks, "PARAMS_FILE", tmp_path / "params.yaml")


APPROVAL = 'release 2 needs an approval (policy.approval_required): run make approve VERSION=2 REASON="..."'


@pytest.mark.usefixtures("approval_required")
@pytest.mark.parametrize("force", [False, True])
def test_a_promotion_by_hand_waits_for_an_approval_also_by_force(
    settings: Settings, engine: sa.Engine, force: bool
) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)

    with pytest.raises(transitions.ApprovalMissing) as missing:
        by_hand.promote(settings, "2", force=force)

    assert str(missing.value) == APPROVAL
    assert live_version(settings) == "1"


@pytest.mark.usefixtures("approval_required")
@pytest.mark.parametrize("by", [BY_POLICY, BY_TRAINING])
def test_the_policy_and_a_training_wait_for_an_approval(settings: Settings, engine: sa.Engine, by: str) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)

    with pytest.raises(transitions.ApprovalMissing, match="needs an approval"):
        transitions.promote(settings, engine, "2", MoveCause(by, "better"))


@pytest.mark.usefixtures("approval_required")
def test_an_approved_release_is_promoted_and_both_persons_are_recorded(on_both: Settings) -> None:
    engine = database.connect(on_both.database_url)
    database.record_decision(engine, "gate", "promote", PASSED)
    ada, grace = (on_both.model_copy(update={"actor": name}) for name in ("ada@desk", "grace@desk"))

    message = by_hand.approve(ada, "2", "reviewed the pack")
    by_hand.promote(grace, "2")

    approval, promotion = (database.last_decision(engine, kind) for kind in ("approval", "promotion"))
    assert message == "release 2 is approved by ada@desk: reviewed the pack"
    assert approval is not None
    assert promotion is not None
    assert (approval.actor, approval.verdict, approval.evidence["reason"]) == (
        "ada@desk",
        "approved",
        "reviewed the pack",
    )
    assert (promotion.actor, promotion.verdict) == ("grace@desk", "by hand")
    assert live_version(on_both) == "2"
    engine.dispose()


@pytest.mark.usefixtures("approval_required")
def test_an_approval_holds_for_the_approved_files_only(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)
    by_hand.approve(settings.model_copy(update={"actor": "ada@desk"}), "2", "reviewed")
    manifest = settings.releases / "2" / release.MANIFEST
    manifest.write_text(manifest.read_text() + "\n")
    (settings.releases / "2" / release.SIGNATURE).write_text(signatures.sign(manifest.read_bytes()))

    with pytest.raises(transitions.ApprovalMissing, match="is not the one that ada@desk approved"):
        by_hand.promote(settings, "2")


def test_an_approval_needs_a_reason_and_a_published_release(settings: Settings) -> None:
    with pytest.raises(ValueError, match="release 9 is not published"):
        by_hand.approve(settings, "9", "reviewed")
    with pytest.raises(ValueError, match="the reason is empty"):
        by_hand.approve(settings, "2", " ")


@pytest.mark.parametrize(
    ("by", "actor"), [(BY_POLICY, "policy (cron@worker)"), (BY_TRAINING, "training (cron@worker)")]
)
def test_the_policy_and_a_training_are_named_with_who_runs_them(
    settings: Settings, engine: sa.Engine, by: str, actor: str
) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)

    transitions.promote(settings.model_copy(update={"actor": "cron@worker"}), engine, "2", MoveCause(by, "better"))

    promotion = database.last_decision(engine, "promotion")
    assert promotion is not None
    assert promotion.actor == actor


@pytest.mark.usefixtures("approval_required")
def test_a_training_that_needs_an_approval_leaves_the_champion_live(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)

    message = promote.promote_if_approved(settings, engine, "2", MoveCause(BY_TRAINING, "better"))

    assert message == f"release 1 stays live; {APPROVAL}; then make promote VERSION=2"
    assert live_version(settings) == "1"


@pytest.mark.usefixtures("approval_required")
def test_a_first_training_that_needs_an_approval_fails(settings: Settings, engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "promote", PASSED)
    (settings.releases / release_pointer.POINTER).unlink()

    with pytest.raises(SystemExit, match="promote: release 2 needs an approval"):
        promote.promote_if_approved(settings, engine, "2", MoveCause(BY_TRAINING, "better"))
