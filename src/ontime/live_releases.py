"""The releases that answer: the champion, and its challenger with a share of the entities."""

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from ontime import online, release, release_pointer
from ontime.release import Release
from ontime.release_pointer import Challenger, Pointer


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


def read_live(releases: Path) -> LiveReleases:
    """Verify, load and probe the releases that the pointer names. Raises NoRelease and ReleaseRefused."""
    pointer = release_pointer.require_pointer(releases)
    champion, challenger = _load(releases, pointer), pointer.challenger
    return LiveReleases(
        champion,
        _load(releases, challenger) if challenger else None,
        challenger.share if challenger else 0.0,
        datetime.now(UTC),
    )


def _load(releases: Path, target: Pointer | Challenger) -> Release:
    loaded = release.load(releases, target.version, target.manifest_sha256)
    online.check_probes(loaded)
    return loaded
