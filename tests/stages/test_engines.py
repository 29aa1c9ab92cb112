"""Parts of a task in several processes: their order, their errors, and their end."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import joblib
import psutil  # type: ignore[import-untyped]  # it ships no types
import pytest

from ontime.refusal import Refusal
from pipelines import engines
from pipelines.engines.engine_error import EngineRefused

SLEEPERS = (
    "import os, time\nfrom pipelines import engines\n"
    "engines.local.joblib.cpu_count = lambda: 2\n"
    "def work(part):\n    os.write(1, f'{os.getpid()}\\n'.encode())\n    time.sleep(600)\n"
    "list(engines.map_parts(work, [1, 2]))\n"
)


def _late_first(count: int, part: int) -> tuple[int, int]:
    time.sleep(0.05 * (count - part))
    return part, os.getpid()


def _refuse_third(part: int) -> int:
    if part == 3:
        raise Refusal("part 3: its rows are wrong")
    return part


def _kill_first_process(flags: Path, part: int) -> int:
    """The first process that works on part 2 is killed."""
    flag = flags / f"{part}"
    if part == 2 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return part


def _kill_always(part: int) -> int:
    if part == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return part


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)


def test_results_come_in_the_order_of_the_parts_from_other_processes() -> None:
    results = list(engines.map_parts(partial(_late_first, 6), range(6)))

    assert [part for part, _ in results] == [0, 1, 2, 3, 4, 5]
    assert os.getpid() not in {process for _, process in results}


def test_a_single_part_needs_no_other_process() -> None:
    assert list(engines.map_parts(partial(_late_first, 1), [0])) == [(0, os.getpid())]


def test_a_refusal_is_raised_as_it_was() -> None:
    with pytest.raises(Refusal, match="part 3: its rows are wrong"):
        list(engines.map_parts(_refuse_third, range(6)))


def test_the_part_of_a_killed_process_is_worked_on_again(tmp_path: Path) -> None:
    assert list(engines.map_parts(partial(_kill_first_process, tmp_path), range(8))) == [*range(8)]
    assert (tmp_path / "2").exists()


def test_a_part_that_kills_every_process_is_named() -> None:
    results = engines.map_parts(_kill_always, range(4))

    assert next(results) == 0
    with pytest.raises(EngineRefused, match="worked on 1 or the parts after it was killed 4 times"):
        next(results)


def test_parts_are_taken_only_as_workers_become_free() -> None:
    """Each may be large: a chunk of a file."""
    taken = list[int]()

    def parts() -> Iterator[int]:
        for part in range(100):
            taken.append(part)
            yield part

    results = engines.map_parts(partial(_late_first, 0), parts())

    next(results)
    assert len(taken) <= 2 * engines.local.AT_ONCE + 1


@pytest.mark.slow
def test_workers_end_with_a_parent_that_was_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", SLEEPERS], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    started = [psutil.Process(int(parent.stdout.readline())) for _ in range(2)]

    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    gone, alive = psutil.wait_procs(started, timeout=20)
    assert (len(gone), alive) == (2, [])
