"""`make key` records who created a key, and never the key."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database
from ontime.settings import Settings
from serving import keys


def test_a_created_and_a_replaced_key_are_recorded_without_the_key(on_both: Settings, tmp_path: Path) -> None:
    settings = on_both.model_copy(update={"actor": "ada@desk"})

    created = [keys.create(settings, tmp_path / "keys.json", "desk", ["predict"]) for _ in range(2)]

    engine = database.connect(settings.database_url)
    rows = database.decisions_of(engine, "key")
    assert [(row.verdict, row.actor) for row in rows] == [("created", "ada@desk"), ("replaced", "ada@desk")]
    assert rows[0].evidence == {"name": "desk", "scopes": ["predict"], "reason": "key desk with the scopes predict"}
    assert not any(key in str(row) or keys.key_digest(key) in str(row) for key in created for row in rows)
    engine.dispose()


def test_a_key_that_cannot_be_recorded_is_not_created(settings: Settings, tmp_path: Path) -> None:
    down = settings.model_copy(
        update={"database_url": type(settings.database_url)("postgresql+psycopg://ontime@127.0.0.1:1/none")}
    )

    with pytest.raises(sa.exc.SQLAlchemyError):
        keys.create(down, tmp_path / "keys.json", "desk", ["predict"])

    assert not (tmp_path / "keys.json").exists()
