"""Which releases answer now. A moved pointer is seen within a second, and trusted only after every check."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread

from ontime import online, release
from ontime.release import Pointer, Release, ReleaseRefused

logger = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 0.25


@dataclass(frozen=True)
class Serving:
    """What answers. It is replaced whole, so a batch of entities sees one state from beginning to end."""

    champion: Release
    challenger: Release | None
    share: float  # of the entities, answered by the challenger
    since: datetime

    def answers_by_challenger(self, entity_id: str) -> bool:
        """The same entity is always answered by the same model, at every worker and after every restart."""
        if self.challenger is None or self.share == 0:
            return False
        return int.from_bytes(sha256(entity_id.encode()).digest()[:8]) < self.share * 2**64


class Live:
    """The state that a thread keeps up to date; `refused` says why the pointer's latest word is not followed."""

    def __init__(self, releases: Path, changed: Callable[[Serving, str | None], None] = lambda *_: None) -> None:
        """Raises ReleaseRefused where there is no release that can be trusted."""
        self._releases, self._changed = releases, changed
        self._seen = self._fingerprint()
        self.serving = _follow(releases)
        self.refused: str | None = None
        self._stop = Event()
        self._thread = Thread(target=self._watch, name="release watcher", daemon=True)

    def start(self) -> None:
        self._changed(self.serving, None)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_SECONDS):
            if self._fingerprint() != self._seen:
                self.look()

    def look(self) -> None:
        """Follow the pointer, or say in `refused` why not; what answered goes on answering then."""
        self._seen = self._fingerprint()
        try:
            self.serving = _follow(self._releases)
            self.refused = None
            logger.info("release %s answers", self.serving.champion.manifest.version)
        except (ReleaseRefused, OSError) as error:
            self.refused = str(error)
            logger.error("release refused: %s", error)
        self._changed(self.serving, self.refused)

    def _fingerprint(self) -> tuple[int, int, int] | None:
        """Another one after each move of the pointer: it is always replaced by a new file."""
        try:
            told = (self._releases / release.POINTER).stat()
        except OSError:
            return None
        return told.st_ino, told.st_mtime_ns, told.st_size


def _follow(releases: Path) -> Serving:
    pointer = release.require_pointer(releases)
    champion = _proven(releases, pointer)
    challenger = _proven(releases, pointer.challenger) if pointer.challenger else None
    share = pointer.challenger.share if pointer.challenger else 0.0
    return Serving(champion, challenger, share, datetime.now(UTC))


def _proven(releases: Path, named: Pointer | release.Challenger) -> Release:
    loaded = release.load(releases, named.version, named.manifest_sha256)
    online.prove(loaded)  # and so it is warm
    return loaded
