"""Spark: this machine, or with ONTIME_ENGINE_ADDRESS the master at that address, such as `spark://master:7077`.

Needs Java 17. Parts and results travel as bytes in Arrow, so no time zone or number passes through Spark's own types.
Spark reads everything else from its own configuration (spark-defaults.conf). Workers on other machines need this
repository, the packages of requirements/spark.txt, and ONTIME_SHARED_STORAGE.
"""

import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import TypeVar

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark import cloudpickle
from pyspark.sql import SparkSession

from ontime.settings import load_settings
from pipelines.engines.engine_error import EngineRefused
from pipelines.engines.local import worker_count

LOSSES = 4  # times that Spark tries a task; by default it never repeats one on a single machine
PARTS_IN_JOB = 64  # parts whose results are in memory at once

Part = TypeVar("Part")
Result = TypeVar("Result")


def _session() -> SparkSession:
    address = load_settings().engine_address
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        raise EngineRefused("Spark needs Java 17, and there is no java: apt-get install openjdk-17-jre-headless")
    builder = SparkSession.builder.appName("ontime").config("spark.log.level", "ERROR")
    builder = builder.config("spark.ui.showConsoleProgress", "false")
    if address is None:
        os.environ["PYSPARK_PYTHON"] = sys.executable
        builder = builder.master(f"local[{worker_count()},{LOSSES}]").config("spark.ui.enabled", "false")
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
    else:
        builder = builder.master(address).config("spark.task.maxFailures", LOSSES)
    return builder.getOrCreate()


def map_parts(work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """As `engines.map_parts`, in jobs of at most PARTS_IN_JOB parts, each of which is a task."""
    session, pickled = _session(), cloudpickle.dumps(work)

    def run(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number, part in zip(batch["number"].to_pylist(), batch["part"].to_pylist(), strict=True):
                yield pa.RecordBatch.from_pydict({"number": [number], "result": [_result(pickled, part)]})

    rest = iter(parts)
    try:
        while job := list(islice(rest, PARTS_IN_JOB)):
            rows = [(number, bytearray(cloudpickle.dumps(part))) for number, part in enumerate(job)]
            frame = session.createDataFrame(rows, "number long, part binary").repartitionByRange(len(job), "number")
            for row in sorted(frame.mapInArrow(run, "number long, result binary").collect()):
                value = pickle.loads(row["result"])  # noqa: S301  from our own workers
                if isinstance(value, Exception):
                    raise value
                yield value
    except Py4JJavaError as failed:
        cause = next((line for line in str(failed).splitlines() if line.startswith(": ")), f": {failed}")
        raise EngineRefused(f"Spark{cause}") from failed
    finally:
        session.stop()


def _result(pickled: bytes, part: bytes) -> bytes:
    """The pickled result of a part, or the error that it raises: Spark would repeat it as if a worker was lost."""
    try:
        return cloudpickle.dumps(pickle.loads(pickled)(pickle.loads(part)))  # noqa: S301  from our own driver
    except Exception as error:
        return cloudpickle.dumps(error)
