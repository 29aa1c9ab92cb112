"""`make audit`: the decisions as a table, and whether any was changed."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from ontime import database
from ontime.settings import Settings
from pipelines.tools import audit


@pytest.fixture
def engine(on_both: Settings) -> sa.Engine:
    connected = database.connect(on_both.database_url)
    for number in range(3):
        evidence = {"version": str(number), "reason": "below <zero>"}
        database.record_decision(connected, "gate", "promote", evidence, actor="ada@desk")
    return connected


def test_an_intact_log_is_shown_with_who_and_why(engine: sa.Engine, tmp_path: Path) -> None:
    result = audit.audit(engine)
    audit.write_audit(result, tmp_path / "audit.html")

    page = (tmp_path / "audit.html").read_text()
    assert result.is_intact
    assert "ada@desk" in page
    assert "release 1: below &lt;zero&gt;" in page
    assert "is intact" in page
    assert result.head in page
    engine.dispose()


def test_a_changed_row_is_named(engine: sa.Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE decisions SET actor = 'grace@desk' WHERE decision_id = 2")

    result = audit.audit(engine)
    audit.write_audit(result, tmp_path / "audit.html")

    assert not result.is_intact
    assert result.findings()[0].startswith("row 2 was changed")
    assert "was changed" in (tmp_path / "audit.html").read_text()
    engine.dispose()


def test_a_noted_head_finds_rows_deleted_at_the_end(engine: sa.Engine) -> None:
    noted = audit.audit(engine).head
    assert audit.audit(engine, noted).is_intact
    assert audit.audit(engine, noted[:12]).is_intact
    database.record_decision(engine, "gate", "promote", {})
    assert audit.audit(engine, noted).noted_id == 3
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM decisions WHERE decision_id > 2")

    result = audit.audit(engine, noted)

    assert not result.is_intact
    assert result.findings()[0].startswith(f"no row has the noted head {noted}")
    engine.dispose()


def test_the_command_fails_if_a_row_was_deleted(
    engine: sa.Engine, on_both: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM decisions WHERE decision_id = 2")
    monkeypatch.setenv("ONTIME_DATABASE_URL", on_both.database_url.get_secret_value())
    monkeypatch.setattr(audit, "PAGE", tmp_path / "audit.html")

    with pytest.raises(SystemExit) as stopped:
        audit.main()

    assert stopped.value.code == 1
    engine.dispose()
