"""Supervision of the service's threads and tasks: restarted after an error, and reported while they are stuck.

A thread that has died or hangs is otherwise invisible: requests get responses, but nobody follows the pointer, or
checks the database.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from serving import metrics

logger = logging.getLogger(__name__)

STUCK_SECONDS = 60.0
RESTART_SECONDS = 0.5
RECENT_SECONDS = 600.0  # how long a restart is a note of readiness

Result = TypeVar("Result")

_running: set["Heartbeat"] = set()


class Heartbeat:
    """Knows for how long a thread or task has been at one step of its work, and when it last failed."""

    def __init__(self, name: str, stuck_seconds: float = STUCK_SECONDS) -> None:
        self.name, self._stuck_seconds = name, stuck_seconds
        self._busy_since: float | None = None
        self._failed_at: float | None = None
        metrics.THREAD_FAILURES.labels(name)  # a counter that appears with its first error has no increase

    @contextmanager
    def busy(self) -> Iterator[None]:
        """One step of its work, such as a batch; waiting for work is not part of it."""
        self._busy_since = time.monotonic()
        try:
            yield
        finally:
            self._busy_since = None

    def progress(self) -> None:
        """A part of a long step is complete."""
        self._busy_since = time.monotonic()

    def watch(self) -> None:
        _running.add(self)

    def unwatch(self) -> None:
        _running.discard(self)

    def failed(self, error: BaseException | None) -> None:
        """Log and count an error that ended the thread or task, which is then restarted."""
        self._failed_at = time.monotonic()
        metrics.THREAD_FAILURES.labels(self.name).inc()
        logger.error("%s: failed, and is restarted: %r", self.name, error, exc_info=error)

    def note(self) -> str | None:
        """Why it needs attention, as a sentence; None if it does not."""
        now, since = time.monotonic(), self._busy_since
        is_stuck = since is not None and now - since > self._stuck_seconds
        metrics.THREAD_STUCK.labels(self.name).set(is_stuck)
        if is_stuck and since is not None:
            return f"the {self.name} has been at the same step for {now - since:.0f} seconds"
        if self._failed_at is not None and now - self._failed_at < RECENT_SECONDS:
            return f"the {self.name} failed and was restarted (the log has the reason)"
        return None


class Supervised(Heartbeat):
    """A thread that calls `run` again after an exception; it ends when `run` returns."""

    def __init__(self, name: str, run: Callable[[], None], stuck_seconds: float = STUCK_SECONDS) -> None:
        super().__init__(name, stuck_seconds)
        self._run = run
        self._thread = Thread(target=self._run_until_it_returns, name=name, daemon=True)

    def start(self) -> None:
        self.watch()
        self._thread.start()

    def join(self, timeout_seconds: float | None = None) -> None:
        """Wait until `run` has returned. After the timeout, a stuck thread is left behind: it cannot be stopped."""
        self._thread.join(timeout_seconds)
        self.unwatch()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def _run_until_it_returns(self) -> None:
        while True:
            try:
                self._run()
            except BaseException as error:  # also SystemExit: without this thread, the service would only seem healthy
                self.failed(error)
                time.sleep(RESTART_SECONDS)
            else:
                return


class CallThread:
    """A thread for calls of the event loop that block, one after another.

    An executor of one thread does the same, with two futures and several locks for each call.
    """

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, call: Callable[[], Result]) -> asyncio.Future[Result]:
        """The result of the call, or its exception, for the event loop that is running."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._calls.put((future, call))
        return future

    def stop(self) -> None:
        """Return after all calls."""
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._calls.get()) is not None:
            future, call = item
            try:
                result, error = call(), None
            except BaseException as failure:  # it belongs to the caller, and this thread goes on
                result, error = None, failure
            future.get_loop().call_soon_threadsafe(_finish, future, result, error)


def _finish(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.cancelled():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def notes() -> tuple[str, ...]:
    """The threads and tasks of this process that need attention, as sentences; also updates their metrics."""
    watched = sorted(_running, key=lambda each: each.name)
    return tuple(note for each in watched if (note := each.note()) is not None)
