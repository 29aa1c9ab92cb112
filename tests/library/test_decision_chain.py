"""The hash chain of `decisions`: one chain for all writers, and no change of a row stays unnoticed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database, database_tables, decision_chain
from ontime.actors import current_actor, system_user
from tests.postgres import DATABASES

MOMENT = datetime(2013, 11, 5, 8, 15, tzinfo=UTC)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ontime.db"
    return str(request.getfixturevalue("postgres_server").new_database())


@pytest.fixture
def engine(url: str) -> Iterator[sa.Engine]:
    """A database with five decisions."""
    connected = database.connect(url)
    for number in range(1, 6):
        evidence = {"version": str(number), "high": -0.1 / 3, "worse": ("a", None), "name": "Zürich"}
        database.record_decision(connected, "gate", "promote", evidence, MOMENT if number % 2 else None)
    yield connected
    connected.dispose()


def run(engine: sa.Engine, *statements: str) -> None:
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def broken_ids(engine: sa.Engine) -> list[int]:
    return [each.decision_id for each in decision_chain.breaks(decision_chain.all_rows(engine))]


def test_unchanged_decisions_are_one_chain(engine: sa.Engine) -> None:
    rows = decision_chain.all_rows(engine)

    assert decision_chain.breaks(rows) == []
    assert len({row.chain for row in rows}) == 5
    assert decision_chain.head(rows) == rows[-1].chain


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE decisions SET verdict = 'reject' WHERE decision_id = 3",
        "UPDATE decisions SET kind = 'promotion' WHERE decision_id = 3",
        "UPDATE decisions SET actor = 'someone else' WHERE decision_id = 3",
        "UPDATE decisions SET actor = NULL WHERE decision_id = 3",
        "UPDATE decisions SET evidence = '{}' WHERE decision_id = 3",
        "UPDATE decisions SET decided_at = '2013-11-05 08:15:00.000001' WHERE decision_id = 3",
        "DELETE FROM decisions WHERE decision_id = 3",
    ],
)
def test_a_changed_or_deleted_row_is_named(engine: sa.Engine, statement: str) -> None:
    run(engine, statement)

    assert broken_ids(engine) == [3]


def test_deleted_rows_at_the_beginning_are_named(engine: sa.Engine) -> None:
    run(engine, "DELETE FROM decisions WHERE decision_id < 3")

    assert broken_ids(engine) == [1, 2]


@pytest.mark.parametrize("digest", [None, "a" * 64])
def test_an_inserted_row_is_named(engine: sa.Engine, digest: str | None) -> None:
    run(engine, "UPDATE decisions SET decision_id = decision_id + 100 WHERE decision_id > 3")
    inserted = {"decided_at": MOMENT, "kind": "gate", "verdict": "promote", "evidence": {}, "chain": digest}
    with engine.begin() as connection:
        connection.execute(sa.insert(database_tables.decisions), {**inserted, "decision_id": 50})

    assert 50 in broken_ids(engine)


def test_an_inserted_row_with_a_correct_digest_is_named(engine: sa.Engine) -> None:
    third = decision_chain.all_rows(engine)[2]
    forged = {"decided_at": MOMENT, "kind": "gate", "verdict": "promote", "evidence": {}, "actor": "x"}
    run(engine, "UPDATE decisions SET decision_id = decision_id + 100 WHERE decision_id > 3")
    with engine.begin() as connection:
        chain = decision_chain.link(third.chain, forged)
        connection.execute(sa.insert(database_tables.decisions), {**forged, "decision_id": 50, "chain": chain})

    assert broken_ids(engine) == [50]


def test_rows_that_changed_places_are_named(engine: sa.Engine) -> None:
    run(
        engine,
        "UPDATE decisions SET decision_id = 99 WHERE decision_id = 2",
        "UPDATE decisions SET decision_id = 2 WHERE decision_id = 3",
        "UPDATE decisions SET decision_id = 3 WHERE decision_id = 99",
    )

    assert {2, 3} <= {*broken_ids(engine)}


def test_rows_deleted_at_the_end_are_not_seen_without_an_earlier_head(engine: sa.Engine) -> None:
    noted = decision_chain.head(decision_chain.all_rows(engine))
    run(engine, "DELETE FROM decisions WHERE decision_id = 5")

    rows = decision_chain.all_rows(engine)

    assert decision_chain.breaks(rows) == []
    assert noted not in {row.chain for row in rows}


def test_writers_at_the_same_time_never_fork_the_chain(url: str) -> None:
    engines = [database.connect(url, patience_s=60) for _ in range(4)]

    def write(number: int) -> None:
        database.record_decision(engines[number % 4], "gate", "promote", {"version": str(number)})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))

    rows = decision_chain.all_rows(engines[0])
    assert len(rows) == 40
    assert decision_chain.breaks(rows) == []
    for engine in engines:
        engine.dispose()


def test_a_row_that_an_earlier_version_writes_later_is_named(engine: sa.Engine) -> None:
    run(
        engine,
        "INSERT INTO decisions (decided_at, kind, verdict, evidence) "
        "VALUES ('2013-11-05 08:15:00', 'gate', 'promote', '{}')",
    )
    database.record_decision(engine, "gate", "promote", {})

    assert broken_ids(engine) == [6]


def test_a_decision_names_who_made_it(engine: sa.Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    database.record_decision(engine, "gate", "promote", {})
    monkeypatch.setenv("ONTIME_ACTOR", "the scheduler")
    database.record_decision(engine, "gate", "promote", {})
    database.record_decision(engine, "gate", "promote", {}, actor="the policy")

    assert current_actor() == "the scheduler"
    assert [row.actor for row in decision_chain.all_rows(engine)[-3:]] == [system_user(), "the scheduler", "the policy"]
