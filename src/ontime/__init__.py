"""The library: pure functions and typed data. `ontime.problem` says what is predicted, of what.

ONTIME_PROBLEM names another folder that is imported as `ontime.problem`, such as examples/bikes/problem: to try a
problem without adopting it, and for tests of what must hold for any problem.
"""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path


class _Elsewhere(MetaPathFinder):
    """Finds `ontime.problem` in another folder; what lies in it is found by the usual way."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        if name != "ontime.problem":
            return None
        return spec_from_file_location(
            name, self._folder / "__init__.py", submodule_search_locations=[str(self._folder)]
        )


if folder := os.environ.get("ONTIME_PROBLEM"):
    sys.meta_path.insert(0, _Elsewhere(Path(folder).resolve()))
