"""Work for engines in the tests: in a module of its own, because workers import it."""

import os
import signal
from pathlib import Path

from ontime.refusal import Refusal


def square_after_a_kill(part: int, flags: Path) -> tuple[int, int]:
    """The square, and the process. The first process that works on part 3 is killed."""
    flag = flags / f"{part}"
    if part == 3 and not flag.exists():
        flag.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return part * part, os.getpid()


def killed_always(part: int) -> int:
    if part == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return part


def refuse_second(part: int) -> int:
    if part == 1:
        raise Refusal("part 1: its rows are wrong")
    return part


def divide_by(part: int) -> float:
    return 1 / part


def variable(name: str) -> str | None:
    return os.environ.get(name)
