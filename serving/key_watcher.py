"""The API keys that are valid now: the file is read again when it changes, so a new or revoked key needs no restart."""

import logging
from collections.abc import Mapping
from pathlib import Path
from threading import Event

from ontime.settings import BadSettings
from serving import threads
from serving.keys import Key, read_keys

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0


class ValidKeys:
    """`by_digest` is updated by a thread.

    A changed file that is invalid, has no key, or is missing changes nothing, and is logged: it may be half of a
    deployment, and callers with valid keys would all be rejected.
    """

    def __init__(self, path: Path) -> None:
        """Raises BadSettings if the file is missing, invalid, or contains no key."""
        self._path, self._fingerprint = path, _fingerprint(path)
        self.by_digest: Mapping[str, Key] = read_keys(path).by_digest()
        self._stopping = Event()
        self._thread = threads.Supervised("key watcher", self._watch)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            with self._thread.busy():
                self._read_if_changed()

    def _read_if_changed(self) -> None:
        fingerprint = _fingerprint(self._path)
        if fingerprint == self._fingerprint:
            return
        self._fingerprint = fingerprint
        try:
            self.by_digest = read_keys(self._path).by_digest()
        except BadSettings as refused:
            logger.error("API keys: %s; the earlier keys stay valid", refused)
        else:
            logger.warning("API keys: read again, %d are valid", len(self.by_digest))


def _fingerprint(path: Path) -> tuple[int, int, int] | None:
    """Of the file behind links: Kubernetes replaces a link when a mounted secret changes."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
