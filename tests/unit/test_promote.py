"""What was decided about the same outputs stands, until something else is decided."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database
from ontime.release import Pointer
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

    assert told == "release 2 was rolled back, 1 answers; `make promote VERSION=2` brings it back"


def test_a_kept_release_stays(engine: sa.Engine) -> None:
    database.record_decision(engine, "gate", "keep", {"pipeline": "y", "version": "3", "reason": "no better"})

    assert already_settled(engine, pointing_at("2"), "y") == "kept release 2: no better"


@pytest.mark.parametrize(("pointer", "pipeline"), [(None, "x"), (pointing_at("2"), "new"), (pointing_at("1"), "x")])
def test_else_there_is_work_to_do(engine: sa.Engine, pointer: Pointer | None, pipeline: str) -> None:
    assert already_settled(engine, pointer, pipeline) is None
