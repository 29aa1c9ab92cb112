"""A spool keeps whole predictions through crashes, and hands each over at least once."""

import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.spool import Row, Spool

NOW = datetime(2013, 11, 5, 10, 15, tzinfo=UTC)


def row(number: int, vector: bytes = b"\x00\xff") -> dict[str, Any]:
    return {"prediction_id": str(number), "answered_at": NOW, "vector": vector, "latency_ms": 1.5, "alert": True}


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = Spool(tmp_path)
    yield opened
    opened.close()


def test_what_was_appended_is_handed_over_as_it_was(spool: Spool) -> None:
    spool.append([row(1), row(2)])
    spool.append([row(3)])
    kept: list[Row] = []

    drained = spool.drain(kept.extend)

    assert kept == [row(1), row(2), row(3)]
    assert (drained, len(spool)) == (3, 0)
    assert spool.drain(kept.extend) == 0


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_any_bytes_come_back(vectors: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        spool, kept = Spool(Path(folder)), list[Row]()
        spool.append([row(number, vector) for number, vector in enumerate(vectors)])
        spool.drain(kept.extend)
        spool.close()

    assert [each["vector"] for each in kept] == vectors


def test_rows_that_cannot_be_handed_over_stay(spool: Spool) -> None:
    def away(_: object) -> None:
        raise OSError("no database")

    spool.append([row(1)])
    kept: list[Row] = []

    with pytest.raises(OSError, match="no database"):
        spool.drain(away)

    assert len(spool) == 1
    spool.drain(kept.extend)
    assert kept == [row(1)]


def test_a_living_process_keeps_its_spool_and_a_dead_ones_is_taken_over(tmp_path: Path) -> None:
    dead, alive = Spool(tmp_path), Spool(tmp_path)
    kept: list[Row] = []
    dead.append([row(1)])
    alive.append([row(2)])

    next_one = Spool(tmp_path)
    next_one.drain(kept.extend)
    before = list(kept)
    dead._file.close()  # as the kernel does when a process dies
    next_one.drain(kept.extend)

    assert (before, kept) == ([], [row(1)])
    alive.close()
    next_one.close()
    assert len(list(tmp_path.iterdir())) == 1  # what waits in the living one's


def test_a_spool_is_never_seen_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another worker would take the new file for a dead one's and remove it under its owner."""
    seen: list[Path] = []
    monkeypatch.setattr("serving.spool.fcntl.flock", lambda *_: seen.extend(tmp_path.glob("*.jsonl")))

    Spool(tmp_path).close()

    assert seen == []


def test_a_line_that_was_cut_by_a_crash_is_left_out(tmp_path: Path) -> None:
    dead = Spool(tmp_path)
    dead.append([row(1), row(2)])
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-10])
    dead._file.close()
    kept: list[Row] = []

    with_next = Spool(tmp_path)
    with_next.drain(kept.extend)
    with_next.close()

    assert kept == [row(1)]


def test_a_disk_that_is_full_leaves_no_half_line(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.append([row(1)])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            spool.append([row(2)])

    spool.append([row(3)])
    (path,) = tmp_path.iterdir()
    assert [json.loads(line)["prediction_id"] for line in path.read_text().splitlines()] == ["1", "3"]
    assert len(spool) == 2


def test_a_spool_in_which_nothing_waits_leaves_nothing_behind(tmp_path: Path) -> None:
    Spool(tmp_path).close()

    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_process_left_is_taken_over_also_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There a lock on the whole file stands in for flock: an exclusive one needs a file that is open for writing."""
    real = fcntl.flock

    def as_on_nfs(file: Any, operation: int) -> None:
        if operation & fcntl.LOCK_EX and not file.writable():
            raise OSError(9, "Bad file descriptor")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    dead, alive, kept = Spool(tmp_path), Spool(tmp_path), list[Row]()
    dead.append([row(1)])
    dead.close()

    assert alive.drain(kept.extend) == 1
    assert kept == [row(1)]
