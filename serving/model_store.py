"""The model store: loads and verifies the live releases, and watches the pointer to replace them.

A moved pointer is noticed within a second. Its release goes live only after every check.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread

from ontime import online, release, release_pointer
from ontime.release import Release, ReleaseRefused
from ontime.release_pointer import Pointer

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25


@dataclass(frozen=True)
class LiveReleases:
    """The releases that serve traffic. It is replaced as a whole, so all entities of a batch see the same releases."""

    champion: Release
    challenger: Release | None
    challenger_share: float  # of the entities
    since: datetime

    def routes_to_challenger(self, entity_id: str) -> bool:
        """Depends on nothing but entity and share: the same in every worker and after every restart."""
        if self.challenger is None or self.challenger_share == 0:
            return False
        return int.from_bytes(sha256(entity_id.encode()).digest()[:8]) < self.challenger_share * 2**64


class ModelStore:
    """`live` is updated by a thread; `refusal` is the reason why it does not follow the pointer, None if it does."""

    def __init__(self, releases: Path, on_change: Callable[[LiveReleases, str | None], None] = lambda *_: None) -> None:
        """Raises ReleaseRefused if the current release is missing or fails a check."""
        self._releases, self._on_change = releases, on_change
        self._fingerprint = self._pointer_fingerprint()
        self.live = _load_live(releases)
        self.refusal: str | None = None
        self._stopping = Event()
        self._thread = Thread(target=self._watch, name="release watcher", daemon=True)

    def start(self) -> None:
        self._on_change(self.live, None)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            if self._pointer_fingerprint() != self._fingerprint:
                self.reload()

    def reload(self) -> None:
        """Follow the pointer. If its release is refused, keep the live releases and set `refusal`."""
        self._fingerprint = self._pointer_fingerprint()
        try:
            self.live = _load_live(self._releases)
            self.refusal = None
            logger.info("release %s is live", self.live.champion.manifest.version)
        except (ReleaseRefused, OSError) as error:
            self.refusal = str(error)
            logger.error("release refused: %s", error)
        self._on_change(self.live, self.refusal)

    def _pointer_fingerprint(self) -> tuple[int, int, int] | None:
        """Changes with each move of the pointer, because a new file always replaces it."""
        try:
            stat = (self._releases / release_pointer.POINTER).stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _load_live(releases: Path) -> LiveReleases:
    pointer = release_pointer.require_pointer(releases)
    champion = _load_verified(releases, pointer)
    challenger = _load_verified(releases, pointer.challenger) if pointer.challenger else None
    share = pointer.challenger.share if pointer.challenger else 0.0
    return LiveReleases(champion, challenger, share, datetime.now(UTC))


def _load_verified(releases: Path, target: Pointer | release_pointer.Challenger) -> Release:
    loaded = release.load(releases, target.version, target.manifest_sha256)
    online.check_probes(loaded)  # also warms up the model
    return loaded
