"""The model store: loads and verifies the live releases, and watches the pointer to replace them.

A moved pointer is noticed within a second. Its release goes live only after every check, the last of which runs in a
child process (release_check.py), because a model may need endless time or memory, or crash.
"""

import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, Timer

from ontime import online, release, release_check, release_pointer
from ontime.live_releases import LiveReleases
from ontime.release import Release, ReleaseRefused
from ontime.release_pointer import Challenger, Pointer
from serving import threads

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
LAST_RETRY_SECONDS = 30.0
RETRY_SHARE = 0.05  # of the time may be spent on retries of a refused release
STOP_SECONDS = 5.0


class ModelStore:
    """`live` is updated by a thread.

    `refusal` is the reason why it does not follow the pointer, `challenger_refusal` the reason why the pointer's
    challenger does not run; None if there is none. A refused release is tried again, because its files may be on
    their way.
    """

    def __init__(self, releases: Path, on_change: Callable[[LiveReleases, str | None], None] = lambda *_: None) -> None:
        """Raises ReleaseRefused if the current release is missing or fails a check.

        Without a child process, which would add half of a start's CPU time. The signature attests that the release was
        loaded and probed before it was published; the limits here are for a machine on which that no longer holds.
        """
        self._releases, self._on_change = releases, on_change
        self._fingerprint = self._pointer_fingerprint()
        self._loaded: dict[tuple[str, str], Release] = {}  # by version and digest of the manifest
        self.refusal: str | None = None
        self.challenger_refusal: str | None = None
        self._retry_seconds, self._retry_at = POLL_SECONDS, 0.0
        self._stopping = Event()
        pointer = release_pointer.require_pointer(releases)
        with release_check.limited_memory():
            champion = self._load(pointer, in_child=False)
            self.live = LiveReleases(champion, None, 0.0, datetime.now(UTC))
            self._load_challenger(pointer, in_child=False)
        self._thread = threads.Supervised("release watcher", self._watch)

    def start(self) -> None:
        self._on_change(self.live, self.challenger_refusal)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            with self._thread.busy():
                self._follow()

    def _follow(self) -> None:
        if self._pointer_fingerprint() != self._fingerprint:
            self._retry_seconds = POLL_SECONDS
        elif (self.refusal is None and self.challenger_refusal is None) or time.monotonic() < self._retry_at:
            return
        started_at = time.monotonic()
        self.reload()
        took_seconds = time.monotonic() - started_at
        self._retry_at = time.monotonic() + max(self._retry_seconds, took_seconds / RETRY_SHARE)
        self._retry_seconds = min(2 * self._retry_seconds, LAST_RETRY_SECONDS)

    def reload(self) -> None:
        """Follow the pointer. If its release is refused, keep the live releases and set `refusal`."""
        self._fingerprint = self._pointer_fingerprint()
        refusal = None
        try:
            self._follow_pointer(release_pointer.require_pointer(self._releases))
        except Exception as error:  # whatever a release holds: the live one goes on, and this one is tried again
            refusal = _reason(error)
            if refusal != self.refusal:  # not at each retry
                logger.error("release refused: %s", refusal)
        self.refusal = refusal
        self._on_change(self.live, self.refusal or self.challenger_refusal)

    def _follow_pointer(self, pointer: Pointer) -> None:
        champion = self._load(pointer)
        if champion is not self.live.champion:
            # At once: it must not wait for a challenger that takes long, or is refused.
            challenger = self._loaded.get(_key(pointer.challenger)) if pointer.challenger else None
            share = pointer.challenger.share if pointer.challenger and challenger else 0.0
            self.live = LiveReleases(champion, challenger, share, datetime.now(UTC))
            logger.info("release %s is live", champion.manifest.version)
        self._load_challenger(pointer)
        named = {_key(each) for each in (pointer, pointer.challenger) if each}
        self._loaded = {key: loaded for key, loaded in self._loaded.items() if key in named}

    def _load_challenger(self, pointer: Pointer, *, in_child: bool = True) -> None:
        """Replace the challenger of `live`. If it is refused, there is none, and `challenger_refusal` is set."""
        challenger, share, refusal = None, 0.0, None
        if pointer.challenger is not None:
            try:
                challenger, share = self._load(pointer.challenger, in_child=in_child), pointer.challenger.share
            except Exception as error:  # as above
                refusal = _reason(error)
                if refusal != self.challenger_refusal:
                    logger.error("challenger refused: %s", refusal)
        self.challenger_refusal = refusal
        if (challenger, share) != (self.live.challenger, self.live.challenger_share):
            self.live = replace(self.live, challenger=challenger, challenger_share=share, since=datetime.now(UTC))

    def _load(self, target: Pointer | Challenger, *, in_child: bool = True) -> Release:
        """The release, verified and probed; one that is live already is not loaded again. Raises ReleaseRefused."""
        digest = target.manifest_sha256
        if _key(target) not in self._loaded:
            release.verify(self._releases / target.version, digest)  # in milliseconds, unlike the child process
            if in_child:
                release_check.check_in_child(self._releases, target.version, digest, is_cancelled=self._stopping.is_set)
            loaded = release.load(self._releases, target.version, digest)
            online.check_probes(loaded)  # also warms up the model
            self._loaded[_key(target)] = loaded
        return self._loaded[_key(target)]

    def _pointer_fingerprint(self) -> tuple[int, int, int] | None:
        """Changes with each move of the pointer, because a new file always replaces it."""
        try:
            stat = (self._releases / release_pointer.POINTER).lstat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, (ReleaseRefused, OSError)) else f"unexpected error: {error!r}"


def _key(target: Pointer | Challenger) -> tuple[str, str]:
    return target.version, target.manifest_sha256


@contextmanager
def start_deadline(seconds: float = release_check.TIMEOUT_SECONDS) -> Iterator[None]:
    """End this process with a message if the block takes longer: a running model cannot be interrupted otherwise."""
    timer = Timer(seconds, _give_up, [seconds])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _give_up(seconds: float) -> None:
    reason = f"the live release was not loaded and probed within {seconds:g} s"
    print(f"serve: {reason}; make the previous one live: make rollback", file=sys.stderr, flush=True)
    os._exit(1)
