"""What all workers of one pytest run share, so that each costly world is built once."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from ontime import files, locks

T = TypeVar("T")


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A temporary folder of this run; the workers of pytest-xdist have folders below it."""
    base = factory.getbasetemp()
    return base.parent if base.name.startswith("popen-") else base


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[], T]) -> T:
    """The value of `build()`; the first worker builds it, the others read a copy of it."""
    path = shared_folder(factory) / f"{name}.pickle"
    with locks.wait_and_hold(path.with_suffix(".lock"), name):
        if not path.exists():
            with files.replacing(path) as aside:
                aside.write_bytes(pickle.dumps(build()))
    value: T = pickle.loads(path.read_bytes())  # noqa: S301  this run has written it
    return value
