"""What a stage refuses: data or a model that it would refuse again, so nothing is gained by another try.

A stage that refuses ends with status 3 after one line of its own; one that breaks has a traceback and status 1.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 3
LINE = re.compile(r"^(\w+): refused: (.*?)(?=^ERROR: failed to reproduce|\Z)", re.MULTILINE | re.DOTALL)


class Refusal(ValueError):
    """The message says what is refused, and what to do about it."""


@contextmanager
def told(stage: str) -> Iterator[None]:
    """Around a stage: ends the process with the message instead of a traceback if anything is refused."""
    try:
        yield
    except Refusal as refused:
        print(f"{stage}: refused: {refused}", file=sys.stderr, flush=True)
        sys.exit(STATUS)


def found_in(output: str) -> str | None:
    """What a stage refused, from its output or from that of the DVC that ran it; None where it refused nothing."""
    line = LINE.search(output)
    return f"{line[1]}: {line[2].strip()}" if line else None
