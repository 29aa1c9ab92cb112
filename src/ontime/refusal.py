"""Refusals: errors that a stage raises on purpose, about data or a model. A retry would fail in the same way.

A stage that refuses prints one line and exits with status 3; one that crashes prints a traceback and exits with 1.
"""

import gc
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STATUS = 3
LINE = re.compile(r"^(\w+): refused: (.*?)(?=^ERROR: failed to reproduce|\Z)", re.MULTILINE | re.DOTALL)


class Refusal(ValueError):
    """The message says what is refused, why, and what to do."""


@contextmanager
def exit_on_refusal(stage: str) -> Iterator[None]:
    """Exit with the message instead of a traceback if the stage in this block raises a Refusal."""
    try:
        yield
    except Refusal as refused:
        print(f"{stage}: refused: {refused}", file=sys.stderr, flush=True)
        sys.exit(STATUS)
    finally:
        gc.freeze()  # the process ends: searching all imported modules for garbage would take a third of a second


def find_refusal(output: str) -> str | None:
    """The refusal in the output of a stage, or of the DVC that ran it; None if there is none.

    >>> find_refusal("train: refused: 3 rows have no label\\nERROR: failed to reproduce 'train'")
    'train: 3 rows have no label'
    """
    line = LINE.search(output)
    return f"{line[1]}: {line[2].strip()}" if line else None
