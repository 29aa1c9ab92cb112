"""Progress of long work: a bar on a terminal, a line every ten seconds in a log, nothing with `ontime --quiet`."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar, overload

from tqdm import tqdm

LINE_SECONDS = 10
FIRST_LINE_SECONDS = 2
LINE = "{desc}: {n_fmt} of {total_fmt} {unit}, {elapsed} elapsed, {remaining} left"
LINE_WITHOUT_TOTAL = "{desc}: {n_fmt} {unit}, {elapsed} elapsed"

Item = TypeVar("Item")
ProgressBar = tqdm


class _Lines:
    """A file that prints each refresh of tqdm as a line of its own, without repeats."""

    def __init__(self, file: TextIO) -> None:
        self._file, self._last = file, ""

    def write(self, text: str) -> None:
        # A bar within another one moves the cursor up.
        if (line := text.replace("\x1b[A", "").strip()) and line != self._last:
            self._file.write(f"{line}\n")
            self._last = line

    def flush(self) -> None:
        self._file.flush()


@overload
def progress_bar(iterable: Iterable[Item], *, desc: str, unit: str, total: float | None = None) -> "tqdm[Item]": ...


@overload
def progress_bar(*, desc: str, unit: str, total: float) -> "tqdm[Any]": ...


def progress_bar(iterable: Any = None, *, desc: str, unit: str, total: float | None = None) -> "tqdm[Any]":
    """A bar of tqdm on stderr, which `ontime --quiet` switches off by TQDM_DISABLE."""
    options: dict[str, Any] = {"desc": desc, "total": total, "disable": bool(os.environ.get("TQDM_DISABLE"))}
    if sys.stderr.isatty():
        options["unit"] = f" {unit}"
    else:
        has_total = total is not None or hasattr(iterable, "__len__")
        line = LINE if has_total else LINE_WITHOUT_TOTAL
        options |= {"unit": unit, "file": _Lines(sys.stderr), "bar_format": line}
        options |= {"mininterval": LINE_SECONDS, "delay": FIRST_LINE_SECONDS}
    return tqdm(iterable, **options)


@contextmanager
def steps(desc: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar over `total` steps: call the function that it yields with a step's name when the step begins."""
    with progress_bar(total=total, desc=desc, unit="steps") as bar:
        bar.leave = False  # the result follows, and the steps are then of no interest
        begun = 0

        def begin(step: str) -> None:
            nonlocal begun
            bar.set_description_str(f"{desc}: {step}", refresh=sys.stderr.isatty())
            bar.update(1 if begun else 0)
            begun += 1

        yield begin
