"""What was decided about the same outputs stands, until something else is decided."""

import io
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database
from ontime.release import Pointer
from pipelines import promote
from pipelines.promote import already_settled


@pytest.fixture
def engine(tmp_path: Path) -> sa.Engine:
    connected = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    evidence = {"pipeline": "x", "version": "2", "reason": "no better"}
    database.record_decision(connected, "gate", "promote", evidence)
    return connected


def pointing_at(version: str, rolled_back: tuple[str, ...] = ()) -> Pointer:
    return Pointer(version=version, manifest_sha256="0" * 64, rolled_back=rolled_back)


def test_a_release_that_answers_is_not_made_again(engine: sa.Engine) -> None:
    assert already_settled(engine, pointing_at("2"), "x") == "release 2 already answers with this model"


def test_a_rollback_is_remembered(engine: sa.Engine) -> None:
    told = already_settled(engine, pointing_at("1", rolled_back=("2",)), "x")

    assert told == "release 2 was rolled back, 1 answers; `make promote VERSION=2 FORCE=1` brings it back"


def test_a_kept_release_stays(engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "keep", {"pipeline": "y", "version": "3", "reason": "no better"})

    assert already_settled(engine, pointing_at("2"), "y") == "kept release 2: no better"


@pytest.mark.parametrize(("pointer", "pipeline"), [(None, "x"), (pointing_at("2"), "new"), (pointing_at("1"), "x")])
def test_else_there_is_work_to_do(engine: sa.Engine, pointer: Pointer | None, pipeline: str) -> None:
    assert already_settled(engine, pointer, pipeline) is None


def test_a_candidate_whose_retraining_has_died_is_not_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is started beside the stages, and must not take for the end of them that nobody is there any more."""
    monkeypatch.setenv("ONTIME_TRACKING_URL", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("ONTIME_DATABASE_URL", f"sqlite:///{tmp_path}/ontime.db")
    monkeypatch.setattr(sys, "argv", ["promote", "candidate", "2013-05-01T04:00:00+00:00"])
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    with pytest.raises(SystemExit, match="nobody says that the stages are done"):
        promote.main()

    assert not (tmp_path / "ontime.db").exists()
