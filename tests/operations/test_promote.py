"""A decision about the same outputs holds until there is a new one."""

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database, files, release_pointer
from ontime.gate import Verdict
from ontime.params import load_params
from ontime.release_pointer import Pointer
from ontime.settings import Settings
from pipelines.operations import materialise, promote, transition_log, transitions
from pipelines.operations.packaging import BestModel
from pipelines.operations.promote import earlier_decision
from pipelines.operations.transition_log import BY_TRAINING, PROMOTION, Move, MoveCause


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    connected = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    evidence = {"pipeline": "x", "version": "2", "reason": "no better"}
    database.record_decision(connected, "gate", "promote", evidence)
    return connected


def pointing_at(version: str, rolled_back: tuple[str, ...] = ()) -> Pointer:
    return Pointer(version=version, manifest_sha256="0" * 64, rolled_back=rolled_back)


def test_a_release_that_is_live_is_not_published_again(engine: sa.Engine) -> None:
    assert earlier_decision(engine, pointing_at("2"), "x") == "no change: release 2 of this training is live"


def test_a_rollback_is_remembered(engine: sa.Engine) -> None:
    message = earlier_decision(engine, pointing_at("1", rolled_back=("2",)), "x")

    assert message == (
        "no change: release 2 of this training was rolled back, and release 1 is live; "
        "`make promote VERSION=2 FORCE=1` promotes it again"
    )


def test_a_rejected_training_leaves_the_champion_live(engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "reject", {"pipeline": "y", "version": "3", "reason": "no better"})

    assert (
        earlier_decision(engine, pointing_at("2"), "y")
        == "no change: release 2 stays live; the gate's verdict: no better"
    )


@pytest.mark.parametrize(("pointer", "pipeline"), [(None, "x"), (pointing_at("2"), "new"), (pointing_at("1"), "x")])
def test_otherwise_there_is_work_to_do(engine: sa.Engine, pointer: Pointer | None, pipeline: str) -> None:
    assert earlier_decision(engine, pointer, pipeline) is None


def served(tmp_path: Path, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The versions that a repeated `make train` promotes if the pointer has already moved to its release."""
    versions: list[str] = []
    monkeypatch.setattr(transitions, "promote", lambda _, __, version, ___: versions.append(version))
    training = promote.Training(Settings(releases=tmp_path), engine, load_params(), "x", {}, None, shadows=False)
    promote.complete_promotion(training, pointing_at("2"))
    return versions


def test_an_interrupted_promotion_is_recorded_by_the_next_training(
    tmp_path: Path, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert served(tmp_path, engine, monkeypatch) == ["2"]


def test_a_recorded_promotion_is_not_repeated(
    tmp_path: Path, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    transition_log.record_move(engine, Move(PROMOTION, "2"), MoveCause(BY_TRAINING, "better"), pointing_at("2"))

    assert served(tmp_path, engine, monkeypatch) == []


@pytest.mark.slow
def test_a_candidate_whose_retraining_has_died_is_not_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the stages, and must not mistake the end of its parent process for theirs."""
    monkeypatch.setenv("ONTIME_TRACKING_URL", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("ONTIME_DATABASE_URL", f"sqlite:///{tmp_path}/ontime.db")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    with pytest.raises(SystemExit, match="the parent process ended before the stages finished; run make train again"):
        promote.main(datetime(2013, 5, 1, 4, tzinfo=UTC))

    assert not (tmp_path / "ontime.db").exists()


@pytest.mark.parametrize("same_features", [True, False])
def test_a_champion_that_stays_live_keeps_the_stored_features_that_it_takes(
    same_features: bool,
    tmp_path: Path,
    engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stored: list[str] = []
    monkeypatch.setattr(materialise, "materialise_test_period", lambda *_: stored.append("test period"))
    files.write_text(tmp_path / release_pointer.POINTER, pointing_at("1").model_dump_json())
    training = promote.Training(Settings(releases=tmp_path), engine, load_params(), "x", {}, None, shadows=False)
    best = BestModel._make([None] * len(BestModel._fields))._replace(name="lightgbm")
    candidate = promote.PublishedModel(best, "2", same_question=True, same_features=same_features)

    promote.apply_verdict(training, candidate, Verdict(False, "no better", 0, 0, 0, 100, 10, [], {}))

    assert bool(stored) == same_features
    assert ("make promote VERSION=2 FORCE=1" in capsys.readouterr().out) != same_features
