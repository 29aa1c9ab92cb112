"""`ontime stream` as a process that can kill itself: python -m tests.stream_process ADDRESS TABLES START [STEP TIMES].

STEP names a place between the receipt of a message and the publication of a prediction; the process kills itself when
it comes there for the TIMES-th time. Everything else is the real thing. Leases are short, so that no test waits long.
"""

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

from ontime import database
from ontime.params import load_params
from ontime.settings import load_settings
from pipelines import brokers
from pipelines.layout import read_small
from pipelines.operations import stream, stream_reader, stream_scoring, stream_store
from pipelines.operations.stream import Stream
from pipelines.operations.stream_reader import TopicReader
from tests import PARAMS_YAML

LEASE = timedelta(seconds=1)
# Before or after which call the process dies; in the order in which a batch passes them.
STEPS: dict[str, tuple[Any, str, str]] = {
    "received, not parsed": (stream_reader, "sort_events", "before"),
    "parsed, nothing stored": (stream_store, "move_positions", "before"),
    "events stored, not committed": (stream_store, "store_dead_letters", "after"),
    "committed, not acknowledged": (TopicReader, "acknowledge", "before"),
    "acknowledged, not scored": (TopicReader, "acknowledge", "after"),
    "scored, nothing stored": (stream_scoring, "predict", "after"),
    "predictions stored, not committed": (database, "log_shadows", "after"),
    "predictions committed, not published": (stream_scoring, "messages_of", "before"),
    "published, not noted": (Stream, "publish", "after"),
}


def die_at(step: str, times: int) -> None:
    """Make this process kill itself at the step, without any chance to clean up."""
    owner, name, when = STEPS[step]
    original: Callable[..., Any] = getattr(owner, name)
    left = [times]

    def deadly(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def main(address: str, tables: str, first: str, *death: str) -> None:
    stream_store.LEASE, stream_reader.RENEWAL_SECONDS = LEASE, LEASE.total_seconds() / 3
    if death:
        die_at(death[0], int(death[1]))
    stopping = Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    start = datetime.fromisoformat(first).astimezone(UTC)
    opened = Stream(
        load_settings(), load_params(PARAMS_YAML), brokers.connect(address), read_small(Path(tables)), start,
        lambda: stream.NEVER,
    )  # fmt: skip
    print("ready", flush=True)
    try:
        stream.run(opened, stopping)
    finally:
        opened.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
