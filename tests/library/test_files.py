"""Writes are atomic, and what is private stays private whatever the umask is."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from ontime import database, files
from tests.modes import mode


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Without it, a umask of 077 on this machine would hide a fault."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder that every user can enter."""
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o755)
    return folder


def test_a_file_in_a_private_folder_is_private(tmp_path: Path) -> None:
    files.write_text(tmp_path / "new/keys.json", "{}")

    assert (mode(tmp_path / "new"), mode(tmp_path / "new/keys.json")) == (0o700, 0o600)


def test_elsewhere_the_umask_decides_or_the_caller(shared: Path) -> None:
    os.umask(0o022)

    files.write_text(shared / "report.md", "")
    files.write_text(shared / "keys.json", "", files.PRIVATE)
    os.umask(0o077)
    files.write_text(shared / "current.json", "", files.READABLE)

    assert [mode(shared / name) for name in ("report.md", "keys.json", "current.json")] == [0o644, 0o600, 0o644]


def test_a_temporary_file_is_never_readable(shared: Path) -> None:
    with files.replacing(shared / "keys.json", files.PRIVATE) as temporary:
        assert mode(temporary) == 0o600


def test_missing_folders_are_created_private_and_existing_ones_are_left_alone(shared: Path) -> None:
    files.make_private_folder(shared / "a/b")

    assert [mode(each) for each in (shared, shared / "a", shared / "a/b")] == [0o755, 0o700, 0o700]


def test_the_var_folder_of_an_earlier_version_is_closed(shared: Path) -> None:
    (shared / "spool").mkdir(mode=0o755)
    (shared / "ontime.db").touch(0o644)
    (shared / "tool").touch(0o755)

    files.close_var(shared)

    modes = {name: mode(shared / name) for name in (".", "spool", "ontime.db", "tool")}
    assert modes == {".": 0o700, "spool": 0o700, "ontime.db": 0o600, "tool": 0o700}


def test_links_and_folders_that_all_users_share_are_left_alone(shared: Path) -> None:
    public = shared / "public"
    public.mkdir()
    public.chmod(0o1777)
    (shared / "of_git").touch(0o644)
    (shared / "hard").hardlink_to(shared / "of_git")
    (shared / "soft").symlink_to(public)

    files.make_private_tree(shared)

    assert [stat.S_IMODE((shared / name).stat().st_mode) for name in ("public", "of_git")] == [0o1777, 0o644]


def test_a_database_and_its_write_ahead_log_are_private(shared: Path) -> None:
    engine = database.connect(f"sqlite:///{shared}/new/ontime.db")
    database.record_decision(engine, "gate", "promote", {})

    modes = {path.name: mode(path) for path in (shared / "new").iterdir()}
    assert modes == dict.fromkeys(("ontime.db", "ontime.db-wal", "ontime.db-shm", "ontime.db.lock"), 0o600)


def test_a_database_that_exists_becomes_private_when_it_is_opened(shared: Path) -> None:
    url = f"sqlite:///{shared}/ontime.db"
    database.record_decision(database.connect(url), "gate", "promote", {})
    for path in shared.iterdir():
        path.chmod(0o644)

    database.connect(url)

    assert {mode(path) for path in shared.glob("ontime.db*") if path.suffix != ".lock"} == {0o600}
