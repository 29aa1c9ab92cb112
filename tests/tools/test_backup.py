"""A backup made while the service serves traffic, and a full restore: same predictions, same registry."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from fsspec.implementations.local import LocalFileSystem
from pydantic import SecretStr

from ontime import database, database_tables, registry, release, release_pointer
from ontime.settings import Settings
from pipelines.tools import backup
from pipelines.tools.backup import NotBackedUp
from tests import postgres
from tests.modes import mode, open_to_others
from tests.service import Load, running
from tests.small_world import Small

pytestmark = pytest.mark.slow

FLIGHT = {
    "carrier": "UA", "flight_number": 1, "origin": "EWR", "dest": "ORD", "distance_miles": 719,
    "scheduled_departure": "2013-02-20T12:00:00-05:00", "scheduled_arrival": "2013-02-20T13:40:00-06:00",
}  # fmt: skip


@pytest.fixture
def world(settings: Settings, small: Small, tmp_path: Path) -> Settings:
    """The small world with a registry, and with nothing that lies outside `tmp_path`."""
    client = registry.tracking_client(settings.tracking_url, settings.artifacts)
    ran = registry.Run("lightgbm", {"trees": 10}, {"auc": 0.7}, {"git_commit": "abc"}, "One candidate.")
    ids = registry.record_runs(client, "pipeline", [ran], [])
    version = registry.register(
        client, "pipeline", ids["lightgbm"], small.contents[release.MODEL], "Predicts arriving late."
    )
    registry.set_aliases(client, {registry.CHAMPION: version})
    parts = backup.parts_of(settings)
    return settings.model_copy(update={"backup": _secret({**parts, "dvc": f"file://{tmp_path}/dvc-remote"})})


def _secret(parts: dict[str, str]) -> dict[str, SecretStr]:
    return {name: SecretStr(url) for name, url in parts.items()}


def registered(settings: Settings) -> list[tuple[object, ...]]:
    client = registry.tracking_client(settings.tracking_url, settings.artifacts)
    versions = client.search_model_versions(f"name='{registry.NAME}'")
    commits = [client.get_run(str(each.run_id)).data.tags["git_commit"] for each in versions]
    return [(each.version, each.run_id, each.aliases, commit) for each, commit in zip(versions, commits, strict=True)]


def predictions(settings: Settings) -> set[tuple[object, ...]]:
    engine = database.connect(settings.database_url)
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(database_tables.predictions.c.prediction_id, database_tables.predictions.c.vector)
        )
        return {tuple(row) for row in rows}


def test_after_a_restore_the_answers_the_releases_and_the_registry_are_what_they_were(
    world: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    with running(world) as service:
        before = [service.post("/v1/predictions", {**FLIGHT, "flight_number": number}) for number in range(1, 30)]
        with Load(service.port, FLIGHT):  # keeps requesting
            backup.make(world, folder)
    prediction_ids, versions = {answer["prediction_id"] for answer in before}, registered(world)
    for path in (tmp_path / "ontime.db", tmp_path / "mlflow.db", world.artifacts, world.releases):
        path.rename(path.with_name(f"{path.name}.lost"))
    for leftover in (*tmp_path.glob("ontime.db-*"), *tmp_path.glob("mlflow.db-*")):
        leftover.unlink()

    backup.restore(world, folder)

    with running(world) as service:
        after = [service.post("/v1/predictions", {**FLIGHT, "flight_number": number}) for number in range(1, 30)]
    assert prediction_ids <= {prediction_id for prediction_id, _ in predictions(world)}
    assert [answer["probability"] for answer in after] == [answer["probability"] for answer in before]
    assert registered(world) == versions != []


def test_what_came_after_the_backup_is_replaced_only_when_told_and_is_kept_beside(
    world: Settings, small: Small, tmp_path: Path
) -> None:
    database.connect(world.database_url).dispose()
    backup.make(world, tmp_path / "backup")
    release.publish(world.releases, small.contents, small.manifest("3"))

    with pytest.raises(NotBackedUp, match="not empty; --replace puts the backup in its place"):
        backup.restore(world, tmp_path / "backup")
    assert release.published(world.releases) == ["1", "2", "3"]

    backup.restore(world, tmp_path / "backup", replace=True)

    assert release.published(world.releases) == ["1", "2"]
    (beside,) = tmp_path.glob("releases.before-*")
    assert release.published(beside) == ["1", "2", "3"]


def test_a_folder_that_is_mounted_is_replaced_within(
    world: Settings, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the releases of a pod are: a mount point cannot be renamed."""
    database.connect(world.database_url).dispose()
    backup.make(world, tmp_path / "backup")
    release.publish(world.releases, small.contents, small.manifest("3"))
    monkeypatch.setattr("os.path.ismount", lambda path: Path(path) == world.releases)
    inode = world.releases.stat().st_ino

    backup.restore(world, tmp_path / "backup", replace=True)

    assert world.releases.stat().st_ino == inode
    assert release.published(world.releases) == ["1", "2"]
    (within,) = world.releases.glob(".before-*")
    assert release.published(within) == ["1", "2", "3"]


def test_a_backup_is_private_and_restored_releases_are_readable(world: Settings, tmp_path: Path) -> None:
    """A service may run as another user, but nobody else needs a backup, a database or MLflow's files."""
    database.connect(world.database_url).dispose()
    backup.make(world, tmp_path / "backup")

    backup.restore(world, tmp_path / "backup", replace=True)

    private = [tmp_path / "backup", tmp_path / "ontime.db", tmp_path / "mlflow.db", world.artifacts]
    assert [open_to_others(path) for path in private] == [{}] * len(private)
    assert {mode(path) for path in world.releases.rglob("*")} == {0o755, 0o644}


@pytest.mark.parametrize("damage", ["altered", "missing", "added", "cut off"])
def test_a_damaged_backup_is_refused_before_anything_is_touched(damage: str, world: Settings, tmp_path: Path) -> None:
    database.connect(world.database_url).dispose()
    folder = tmp_path / "backup"
    backup.make(world, folder)
    model = folder / "releases" / "1" / "model.onnx"
    match damage:
        case "altered":
            model.write_bytes(model.read_bytes()[:-1] + b"x")
        case "missing":
            model.unlink()
        case "added":
            (folder / "releases" / "1" / "more").touch()
        case "cut off":
            (folder / "backup.json").unlink()
    before = sorted(tmp_path.iterdir())

    with pytest.raises(NotBackedUp):
        backup.restore(world, folder, replace=True)

    assert sorted(tmp_path.iterdir()) == before


def test_a_backup_that_fails_leaves_nothing(world: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotBackedUp, match=r"ontime\.db does not exist, so there is nothing to back up"):
        backup.make(world, tmp_path / "backup")

    assert list(tmp_path.glob("*backup*")) == []


def test_rows_that_only_the_write_ahead_log_holds_are_in_the_backup(world: Settings, tmp_path: Path) -> None:
    engine = database.connect(world.database_url)
    database.record_decision(engine, "gate", "reject", {"reason": "only in the log"})

    backup.make(world, tmp_path / "backup")

    with closing(sqlite3.connect(tmp_path / "backup" / "ontime")) as copy:
        assert copy.execute("SELECT count(*) FROM decisions").fetchone() == (1,)


def test_a_backup_at_an_address_is_checked_and_restored_from_there(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The inventory is there last, so an interrupted copy is no backup; nothing there is overwritten."""
    monkeypatch.chdir(tmp_path)
    engine = database.connect(world.database_url)
    database.record_decision(engine, "gate", "reject", {"reason": "before"})
    engine.dispose()
    written: list[str] = []
    real = LocalFileSystem.put_file

    def recorded(self: LocalFileSystem, path1: str, path2: str, *words: object, **named: object) -> None:
        written.append(Path(path2).name)
        real(self, path1, path2, *words, **named)

    monkeypatch.setattr(LocalFileSystem, "put_file", recorded)
    address = f"file://{tmp_path}/bucket/monday"

    made = backup.make_at(world, address)

    assert written[-1] == "backup.json"
    assert backup.verify_at(address) == made
    with pytest.raises(NotBackedUp, match="already exists; choose another address"):
        backup.make_at(world, address)
    (tmp_path / "ontime.db").unlink()
    backup.restore_at(world, address, replace=True)
    restored = database.connect(world.database_url)
    assert [row.evidence["reason"] for row in database.decisions_of(restored, "gate")] == ["before"]
    assert list((tmp_path / "var").glob(".backup.*")) == []


def test_without_a_place_a_backup_goes_where_the_setting_says(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database.connect(world.database_url).dispose()
    monkeypatch.chdir(tmp_path)
    there = world.model_copy(update={"backups": f"file://{tmp_path}/bucket/"})
    monkeypatch.setattr(backup, "load_settings", lambda: there)

    backup.main("backup", None, backup.make_at)

    (folder,) = (tmp_path / "bucket").iterdir()
    assert backup.verified_inventory(folder)
    assert f"backup: file://{tmp_path}/bucket/{folder.name}: " in capsys.readouterr().out


def test_a_backup_is_recorded_once_it_has_succeeded(world: Settings, tmp_path: Path) -> None:
    engine = database.connect(world.database_url)
    with pytest.raises(NotBackedUp):
        backup.make_at(world, str(tmp_path))  # which exists
    before = database.last_decision(engine, "backup")

    backup.make_at(world, str(tmp_path / "tonight"))

    row = database.last_decision(engine, "backup")
    assert before is None
    assert row is not None
    assert row.verdict == "made"
    assert row.evidence["reason"].startswith(f"{tmp_path}/tonight: ontime, ")


def test_a_backup_that_cannot_be_recorded_is_one_nevertheless(
    world: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As before a migration: the tables are those of another version."""
    engine = database.connect(world.database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE decisions RENAME COLUMN actor TO author")
    engine.dispose()

    backup.make_at(world, str(tmp_path / "tonight"))

    assert backup.verified_inventory(tmp_path / "tonight")
    assert "backup: not recorded in the database" in capsys.readouterr().err


def test_an_address_without_a_backup_is_refused_before_anything_is_touched(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database.connect(world.database_url).dispose()

    with pytest.raises(NotBackedUp, match="not a backup, or an incomplete one"):
        backup.restore_at(world, f"file://{tmp_path}/bucket/nothing", replace=True)

    assert (tmp_path / "ontime.db").exists()


def test_postgresql_comes_back_as_it_was(world: Settings, postgres_server: postgres.Server, tmp_path: Path) -> None:
    url = postgres_server.new_database()
    with_postgresql = world.model_copy(update={"backup": _secret({"ontime": url})})
    engine = database.connect(url)
    database.record_decision(engine, "gate", "reject", {"reason": "before"})
    backup.make(with_postgresql, tmp_path / "backup")
    database.record_decision(engine, "gate", "promote", {"reason": "after"})
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE younger (name text)"))
    engine.dispose()

    with pytest.raises(NotBackedUp, match="not empty"):
        backup.restore(with_postgresql, tmp_path / "backup")
    backup.restore(with_postgresql, tmp_path / "backup", replace=True)

    restored = database.connect(url)
    assert [row.evidence["reason"] for row in database.decisions_of(restored, "gate")] == ["before"]
    assert "younger" not in sa.inspect(restored).get_table_names()
    assert "password" not in (tmp_path / "backup" / "backup.json").read_text()


def test_a_release_that_is_published_and_pointed_at_meanwhile_leaves_the_backup_whole(
    world: Settings, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.connect(world.database_url).dispose()
    (world.releases / ".publishing-3").mkdir()
    (world.releases / ".publishing-3" / "model.onnx").touch()
    real = LocalFileSystem.find

    def meanwhile(self: LocalFileSystem, path: str, *words: object, **named: object) -> list[str]:
        paths: list[str] = real(self, path, *words, **named)
        if path.endswith("releases"):
            release.publish(world.releases, small.contents, small.manifest("3"))
            release_pointer.set_live(world.releases, "3")
        return paths

    with monkeypatch.context() as patched:
        patched.setattr(LocalFileSystem, "find", meanwhile)
        backup.make(world, tmp_path / "backup")

    copied = tmp_path / "backup" / "releases"
    assert release_pointer.read_pointer(world.releases) != release_pointer.read_pointer(copied)
    assert release_pointer.load_live(copied).manifest.version == "1"
    assert list(copied.glob(".*")) == []
