"""A lock is one process's at a time, says whose, and outlives nobody."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ontime import database, locks
from tests import ROOT

HOLDS = "import sys, time; from pathlib import Path; from ontime import locks; path = Path(sys.argv[1])\n"
ALONE = HOLDS + "with locks.hold(path, 'make train'): print('held', flush=True); time.sleep(600)"
SHARES = HOLDS + "file = locks.hold_shared(path); print('held', flush=True); time.sleep(600)"


@contextmanager
def another(code: str, path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has the lock."""
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_second_holder_is_told_who_the_first_is_since_when_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    with another(ALONE, path) as first, pytest.raises(locks.Busy) as refused, locks.hold(path, "make train"):
        pass

    since = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
    assert refused.match(
        rf"^make train \(process {first.pid}, since {since}\) holds {path}; "
        "wait until it has ended, or stop it, then try again$"
    )


def test_a_lock_is_free_once_its_holder_was_killed(tmp_path: Path) -> None:
    with another(ALONE, tmp_path / "lock") as first:
        first.kill()
        first.wait()

        with locks.hold(tmp_path / "lock", "make train"):
            assert (tmp_path / "lock").read_text().startswith(f"{os.getpid()} ")


def test_many_share_what_nobody_holds_alone(tmp_path: Path) -> None:
    path = tmp_path / "lock"

    with another(SHARES, path) as first, locks.hold_shared(path), pytest.raises(locks.Busy) as refused:
        locks.hold(path, "make restore").__enter__()

    assert refused.match(rf"\(process {first.pid}, .* and .*\(process {os.getpid()}, ")


@pytest.mark.slow
def test_nobody_shares_what_is_held_alone(tmp_path: Path) -> None:
    with another(ALONE, tmp_path / "lock"), pytest.raises(locks.Busy, match="make train"):
        locks.hold_shared(tmp_path / "lock")


def test_a_lock_that_was_removed_is_taken_on_the_new_file(tmp_path: Path) -> None:
    """`make clean` removes var/, and its own lock with it."""
    path = tmp_path / "lock"

    with locks.hold(path, "make clean"):
        path.unlink()

    with another(ALONE, path), pytest.raises(locks.Busy), locks.hold(path, "make train"):
        pass


def test_in_turn_waits_until_the_first_has_ended(tmp_path: Path) -> None:
    with another(ALONE, tmp_path / "lock") as first:
        signal.signal(signal.SIGALRM, lambda *_: first.kill())
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with locks.wait_and_hold(tmp_path / "lock", "promote"):
            assert first.wait() == -signal.SIGKILL


def test_a_command_holds_its_lock_until_it_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ontime.locks", str(tmp_path / "lock"), "make clean", "sleep", "600"]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT / "src")}) as process:
        while not (tmp_path / "lock").exists() or not (tmp_path / "lock").read_text():
            time.sleep(0.01)

        with pytest.raises(locks.Busy, match="make clean"), locks.hold(tmp_path / "lock", "make train"):
            pass
        process.kill()


def test_a_database_in_use_is_not_replaced(tmp_path: Path) -> None:
    engine = database.connect(f"sqlite:///{tmp_path}/ontime.db")

    with pytest.raises(locks.Busy), locks.hold(database.lock_of(f"{tmp_path}/ontime.db"), "make restore"):
        pass
    engine.dispose()

    with locks.hold(database.lock_of(f"{tmp_path}/ontime.db"), "make restore"):
        pass


def test_many_who_share_at_once_all_get_their_share(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ontime import locks\n"
        "for _ in range(200): locks.hold_shared(Path(sys.argv[1])).close()"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-c", code, str(tmp_path / "lock")]

    started = [subprocess.Popen(command, env=environment) for _ in range(4)]

    assert [process.wait() for process in started] == [0, 0, 0, 0]


def test_a_database_in_memory_leaves_no_lock_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    database.connect("sqlite:///:memory:").dispose()

    assert list(tmp_path.iterdir()) == []
