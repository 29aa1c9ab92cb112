"""The log's stream: a thread writes it, so that a reader that has stalled never delays a response.

A pipe takes 64 kB; after that, a write to it would wait for the reader, and the service with it.
"""

import atexit
import io
import os
from collections import deque
from threading import Event, Thread

from ontime.counts import counted
from serving import metrics

FLUSH_SECONDS = 0.05
MAX_WAITING_LINES = 10_000
END_SECONDS = 1.0  # for the last lines, at the end of the process


class LogStream(io.TextIOBase):
    """A text stream that never blocks: what does not fit into its memory is dropped and counted."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._waiting: deque[str] = deque()
        self._dropped = 0
        self._ending, self._ended = Event(), Event()
        Thread(target=self._run, name="log", daemon=True).start()
        atexit.register(self._end)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, text: str) -> int:
        if len(self._waiting) < MAX_WAITING_LINES:
            self._waiting.append(text)
        else:
            self._dropped += 1
            metrics.LOG_LINES_DROPPED.inc()
        return len(text)

    def _run(self) -> None:
        while not self._ending.wait(FLUSH_SECONDS):
            self._write_waiting()
        self._write_waiting()
        self._ended.set()

    def _write_waiting(self) -> None:
        texts = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            lines = counted(dropped, "line of the log was", "lines of the log were")
            texts.append(f'{{"level":"warning","message":"{lines} dropped"}}\n')
        content = "".join(texts).encode(errors="replace")
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
        except OSError:  # the reader is gone, and with it the log
            metrics.LOG_LINES_DROPPED.inc(len(texts))

    def _end(self) -> None:
        self._ending.set()
        self._ended.wait(END_SECONDS)
