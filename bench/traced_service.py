"""The service, with a trace of the steps that may delay a request: `python -m bench.traced_service TRACE DATABASE`.

Writes a line of JSON to TRACE for each step of SLOW_SECONDS or more: when it began and ended, how long its thread used
a CPU, waited for one, and how long the disk held up some process of this machine meanwhile. For `make bench-soak`;
Linux only. The remaining time of a step is spent waiting for a lock, such as the interpreter's.
"""

import asyncio
import functools
import gc
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from threading import Thread, main_thread
from typing import Any, NamedTuple

import orjson

from ontime import database
from serving import operations, search, server
from serving.batcher import Batcher
from serving.model_store import ModelStore
from serving.prediction_log import PredictionLog

SLOW_SECONDS = 0.02
TICK_SECONDS = 0.01  # of the event loop
SHOWN_FRAMES = 3
STEPS: tuple[tuple[Any, str, str], ...] = (
    (PredictionLog, "store", "commit of predictions"),
    (PredictionLog, "look_up_features", "look-up of features"),
    (PredictionLog, "_check_database", "check of the database"),
    (database, "store_outcomes", "commit of outcomes"),
    (operations, "overview", "query of /v1/ops"),
    (operations, "latest_monitor_metrics", "query of /metrics"),
    (search, "find_entities", "query of a search"),
    (search, "find_entity", "query of an entity"),
    (ModelStore, "reload", "reload of the releases"),
)


class Moment(NamedTuple):
    """Of the calling thread."""

    at: float  # Unix time
    cpu_ns: int
    queue_ns: int  # waited for a CPU
    disk_us: int  # of the machine: some process waited for the disk
    checkpointed_ns: int  # when SQLite last wrote to the file itself, which only a checkpoint does


class Trace:
    def __init__(self, path: Path, database_file: Path) -> None:
        self._file, self._database = path.open("ab", buffering=0), database_file
        self._collection_began = 0.0
        self._ticked_at = time.time()
        self._stack = ""

    def moment(self, thread: str = "thread-self") -> Moment:
        cpu, queue, _ = Path(f"/proc/{thread}/schedstat").read_text(encoding="utf-8").split()
        disk = Path("/proc/pressure/io").read_text(encoding="utf-8").split(maxsplit=5)[4].removeprefix("total=")
        try:
            checkpointed_ns = self._database.stat().st_mtime_ns
        except FileNotFoundError:
            checkpointed_ns = 0
        return Moment(time.time(), int(cpu), int(queue), int(disk), checkpointed_ns)

    def write(self, step: str, began: Moment, ended: Moment, where: str = "") -> None:
        if ended.at - began.at < SLOW_SECONDS:
            return
        line = {
            "step": step,
            "began": began.at,
            "ended": ended.at,
            "cpu_s": (ended.cpu_ns - began.cpu_ns) / 1e9,
            "queue_s": (ended.queue_ns - began.queue_ns) / 1e9,
            "disk_s": (ended.disk_us - began.disk_us) / 1e6,
            "checkpoint": ended.checkpointed_ns != began.checkpointed_ns,
            "where": where,
        }
        self._file.write(orjson.dumps(line) + b"\n")

    def traced(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            began = self.moment()
            try:
                return function(*arguments, **options)
            finally:
                self.write(step, began, self.moment())

        return call

    def collected(self, phase: str, info: dict[str, int]) -> None:
        """A callback of gc."""
        if phase == "start":
            self._collection_began = time.time()
        elif time.time() - self._collection_began >= SLOW_SECONDS:
            ended = self.moment()
            began = ended._replace(at=self._collection_began)
            self.write(f"garbage collection of generation {info['generation']}", began, ended)

    async def watch_event_loop(self) -> None:
        """Write when the loop was late, and what it was doing."""
        before = self.moment()
        while True:
            self._ticked_at = time.time()
            await asyncio.sleep(TICK_SECONDS)
            now = self.moment()
            late = before._replace(at=before.at + TICK_SECONDS)
            self.write("event loop", late, now, self._stack)
            before, self._stack = now, ""

    def watch_stack(self) -> None:
        """In a thread: remember what the event loop is doing whenever it is late."""
        while True:
            time.sleep(TICK_SECONDS)
            if time.time() - self._ticked_at > 2 * TICK_SECONDS and not self._stack:
                frames = traceback.extract_stack(sys._current_frames()[main_thread().ident or 0])[-SHOWN_FRAMES:]
                self._stack = " < ".join(f"{each.name} ({Path(each.filename).name})" for each in reversed(frames))


def main() -> None:
    trace = Trace(Path(sys.argv[1]), Path(sys.argv[2]))
    for owner, name, step in STEPS:
        setattr(owner, name, trace.traced(step, getattr(owner, name)))
    gc.callbacks.append(trace.collected)
    start = Batcher.start

    def start_with_trace(batcher: Batcher) -> None:
        start(batcher)
        batcher.trace = asyncio.create_task(trace.watch_event_loop())  # type: ignore[attr-defined]  # a reference keeps the task
        Thread(target=trace.watch_stack, name="trace", daemon=True).start()

    setattr(Batcher, "start", start_with_trace)  # noqa: B010  mypy would not allow the assignment
    server.main()


if __name__ == "__main__":
    main()
