"""The library: pure functions and typed data. `ontime.problem` says what is predicted, of what.

    >>> import ontime
    >>> ontime.__all__
    ['ReleasedModel', 'build_features', 'examples', 'explain_prediction', 'load', 'score']

These names are the public API: see ontime/api.py. They are imported when they are used, because the service must not
import pandas.

ONTIME_PROBLEM names another folder that is imported as `ontime.problem`, such as examples/bikes/problem: to try a
problem without adopting it, and for tests of what must hold for any problem.
"""

import os
import sys
import warnings
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any

__all__ = ["ReleasedModel", "build_features", "examples", "explain_prediction", "load", "score"]  # noqa: F822  __getattr__ imports them

# Where pyspark is installed, pandera imports it. No pandas object passes through Spark: pipelines/engines/spark.py.
warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas", FutureWarning)


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


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("ontime.api"), name)
