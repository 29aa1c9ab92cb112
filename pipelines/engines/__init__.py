"""Runs the parts of a task on the engine that ONTIME_ENGINE names: processes of this machine, Dask, or Spark.

An engine is a module of this package with a function `map_parts`. Only the chosen one is imported, and only `local` is
installed by default: `make install ENGINE=dask`. Results do not depend on the engine.
"""

from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from typing import TypeVar

from ontime.settings import load_settings
from pipelines.engines import local
from pipelines.engines.engine_error import EngineRefused

Part = TypeVar("Part")
Result = TypeVar("Result")


def map_parts(work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """`work` of each part, in the order of the parts, which are taken as workers become free.

    `work`, parts and results are pickled. The part of a lost worker is given to another one. Raises what `work` raises,
    and EngineRefused if the engine is not installed or loses too many workers.
    """
    name = load_settings().engine
    if name == "local":
        return local.map_parts(work, parts)
    try:
        engine = import_module(f"pipelines.engines.{name}")
    except ModuleNotFoundError as missing:
        raise EngineRefused(
            f"ONTIME_ENGINE={name} needs the package {missing.name}, which is not installed: make install ENGINE={name}"
        ) from None
    return engine.map_parts(work, parts)
