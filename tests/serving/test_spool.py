"""The spool survives crashes, and passes each prediction on at least once."""

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


def test_rows_are_drained_unchanged(spool: Spool) -> None:
    spool.append([row(1), row(2)])
    spool.append([row(3)])
    stored: list[Row] = []

    drained = spool.drain(stored.extend)

    assert stored == [row(1), row(2), row(3)]
    assert (drained, len(spool)) == (3, 0)
    assert spool.drain(stored.extend) == 0


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5))
def test_any_bytes_survive_the_spool(vectors: list[bytes]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        spool, stored = Spool(Path(folder)), list[Row]()
        spool.append([row(number, vector) for number, vector in enumerate(vectors)])
        spool.drain(stored.extend)
        spool.close()

    assert [each["vector"] for each in stored] == vectors


def test_rows_that_cannot_be_stored_stay_in_the_spool(spool: Spool) -> None:
    def away(_: object) -> None:
        raise OSError("no database")

    spool.append([row(1)])
    stored: list[Row] = []

    with pytest.raises(OSError, match="no database"):
        spool.drain(away)

    assert len(spool) == 1
    spool.drain(stored.extend)
    assert stored == [row(1)]


def test_only_the_spool_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    dead, alive = Spool(tmp_path), Spool(tmp_path)
    stored: list[Row] = []
    dead.append([row(1)])
    alive.append([row(2)])

    next_one = Spool(tmp_path)
    next_one.drain(stored.extend)
    before = list(stored)
    dead._file.close()  # as the kernel does when a process dies
    next_one.drain(stored.extend)

    assert (before, stored) == ([], [row(1)])
    alive.close()
    next_one.close()
    assert len(list(tmp_path.iterdir())) == 1  # the file of the living process


def test_a_spool_is_locked_before_it_is_visible(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise another worker could take the new file for that of a dead process and remove it."""
    visible: list[Path] = []
    monkeypatch.setattr("serving.spool.fcntl.flock", lambda *_: visible.extend(tmp_path.glob("*.jsonl")))

    Spool(tmp_path).close()

    assert visible == []


def test_an_incomplete_line_is_ignored(tmp_path: Path) -> None:
    dead = Spool(tmp_path)
    dead.append([row(1), row(2)])
    path = next(tmp_path.iterdir())
    path.write_bytes(path.read_bytes()[:-10])
    dead._file.close()
    stored: list[Row] = []

    with_next = Spool(tmp_path)
    with_next.drain(stored.extend)
    with_next.close()

    assert stored == [row(1)]


def test_a_full_disk_leaves_no_incomplete_line(spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_empty_spool_is_deleted(tmp_path: Path) -> None:
    Spool(tmp_path).close()

    assert list(tmp_path.iterdir()) == []


def test_the_spool_of_a_dead_process_is_taken_over_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS emulates flock with a lock on the whole file, and an exclusive one requires write access."""
    real = fcntl.flock

    def as_on_nfs(file: Any, operation: int) -> None:
        if operation & fcntl.LOCK_EX and not file.writable():
            raise OSError(9, "Bad file descriptor")
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", as_on_nfs)
    dead, alive, stored = Spool(tmp_path), Spool(tmp_path), list[Row]()
    dead.append([row(1)])
    dead.close()

    assert alive.drain(stored.extend) == 1
    assert stored == [row(1)]


def test_lines_that_are_not_predictions_are_kept_aside_with_their_reason(tmp_path: Path) -> None:
    dead, stored = Spool(tmp_path), list[Row]()
    dead.append([row(1), row(2), row(3)])
    path = next(tmp_path.iterdir())
    lines = path.read_bytes().splitlines(keepends=True)
    broken = [b"not JSON\n", b'{"prediction_id": "4"}\n', b"[1]\n", b"\xff\xfe\n"]
    path.write_bytes(b"".join([lines[0], broken[0], lines[1], *broken[1:], lines[2]]))
    dead._file.close()

    next_one = Spool(tmp_path)
    drained = next_one.drain(stored.extend)
    next_one.close()

    assert stored == [row(1), row(2), row(3)]
    assert drained == 7
    (rejected,) = (tmp_path / "rejected").iterdir()
    kept = [json.loads(line) for line in rejected.read_text().splitlines()]
    assert [each["line"].encode() for each in kept[:3]] == broken[:3]
    assert all(each["reason"] for each in kept)
    assert not path.exists()


def test_rows_that_the_table_refuses_are_kept_aside_too(spool: Spool, tmp_path: Path) -> None:
    spool.append([row(1), row(2)])

    spool.drain(lambda _: {1: "too long"})

    (rejected,) = (tmp_path / "rejected").iterdir()
    (kept,) = (json.loads(line) for line in rejected.read_text().splitlines())
    assert (kept["reason"], json.loads(kept["line"])["prediction_id"]) == ("too long", "2")


def test_a_large_spool_is_drained_in_batches_and_takes_new_rows_meanwhile(spool: Spool) -> None:
    spool.append([row(number) for number in range(2500)])
    spool.seal()
    sizes: list[int] = []

    def store(rows: Any) -> None:
        sizes.append(len(rows))
        spool.append([row(9000 + len(sizes))])

    while spool.drain_batch(store):
        pass

    assert sizes == [1000, 1000, 500]
    assert len(spool) == 3


def test_a_process_killed_while_it_checks_for_space_leaves_no_broken_line(tmp_path: Path) -> None:
    dead, stored = Spool(tmp_path), list[Row]()
    dead.append([row(1)])
    dead._write(b" " * 100)
    dead._file.close()

    next_one = Spool(tmp_path)
    next_one.drain(stored.extend)
    next_one.close()

    assert stored == [row(1)]
    assert list(tmp_path.iterdir()) == []
