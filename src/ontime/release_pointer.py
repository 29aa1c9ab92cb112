"""The pointer, releases/current.json: which release is live, its challenger, and the releases before it.

Every move reads the pointer, writes a new one and holds a lock in between. A write is atomic, so a reader sees the
old pointer or the new one.
"""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from pydantic import ValidationError

from ontime import files, locks, release, schema
from ontime.release import MANIFEST, Digest, Manifest, Record, Release, ReleaseRefused, Share, Version

POINTER = "current.json"
LOCK = ".current.lock"
MAX_POINTER_BYTES = 2**20

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class NoRelease(ReleaseRefused):
    """There is no release yet, or none to return to."""


class Challenger(Record):
    """A second release: it scores every entity in the shadow, and serves a share of the traffic (0: none)."""

    version: Version
    manifest_sha256: Digest
    share: Share


class Pointer(Record):
    version: Version
    manifest_sha256: Digest
    challenger: Challenger | None = None
    history: tuple[Version, ...] = ()  # releases that were live before, oldest first
    rolled_back: tuple[Version, ...] = ()  # never promoted again automatically


def _one_at_a_time(
    move: Callable[Concatenate[Path, Arguments], Result],
) -> Callable[Concatenate[Path, Arguments], Result]:
    """Hold the lock: each move reads the pointer in order to write it."""

    @wraps(move)
    def locked(releases: Path, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        release.make_folder(releases)
        with locks.wait_and_hold(releases / LOCK, "release"):
            return move(releases, *args, **kwargs)

    return locked


@_one_at_a_time
def set_live(releases: Path, version: str, *, watched: bool = False) -> None:
    """Make `version` live.

    `watched`: the release that was live before becomes the challenger in the shadow, so that both are compared on the
    same entities.
    """
    before = read_pointer(releases)
    if before and before.version == version:
        return
    challenger = _remaining_challenger(releases, before, version)
    if watched and before:
        challenger = Challenger(version=before.version, manifest_sha256=before.manifest_sha256, share=0)
    pointer = Pointer(
        version=version,
        manifest_sha256=_manifest_digest(releases, version),
        challenger=challenger,
        history=(*before.history, before.version) if before else (),
        rolled_back=tuple(each for each in before.rolled_back if each != version) if before else (),
    )
    _write(releases, pointer)


@_one_at_a_time
def revert(releases: Path) -> str:
    """Make the previous release live again, and return its version. Raises NoRelease."""
    before = read_pointer(releases)
    if before is None or not before.history:
        raise NoRelease(f"{releases / POINTER}: there is no earlier release to roll back to")
    version = before.history[-1]
    pointer = before.model_copy(
        update={
            "version": version,
            "manifest_sha256": _manifest_digest(releases, version),
            "challenger": _remaining_challenger(releases, before, version),
            "history": before.history[:-1],
            "rolled_back": (*before.rolled_back, before.version),
        }
    )
    _write(releases, pointer)
    return version


@_one_at_a_time
def set_challenger(releases: Path, version: str | None, share: float = 0.0) -> None:
    """Make `version` the challenger of the live release; None removes the challenger. Raises ReleaseRefused."""
    before = require_pointer(releases)
    if version == before.version:
        raise ReleaseRefused(f"release {version} is live; it cannot challenge itself")
    challenger = None
    if version is not None:
        require_same_question(release.verify(releases / version), release.verify(releases / before.version))
        challenger = Challenger(version=version, manifest_sha256=_manifest_digest(releases, version), share=share)
    _write(releases, before.model_copy(update={"challenger": challenger}))


def require_same_question(challenger: Manifest, champion: Manifest) -> None:
    """Raise ReleaseRefused if two releases predict different labels, so that the same outcomes cannot compare them."""
    if challenger.question != champion.question:
        raise ReleaseRefused(
            f"release {challenger.version} predicts {schema.in_words(challenger.question)}; release {champion.version} "
            f"predicts {schema.in_words(champion.question)}: the same outcomes cannot judge both. "
            f"To serve it nevertheless: make promote VERSION={challenger.version} FORCE=1"
        )


def _remaining_challenger(releases: Path, before: Pointer | None, champion: str) -> Challenger | None:
    """The present challenger, if it can challenge the new champion as well."""
    if before is None or before.challenger is None or before.challenger.version == champion:
        return None
    try:
        require_same_question(release.verify(releases / before.challenger.version), release.verify(releases / champion))
    except ReleaseRefused:  # a broken challenger must not prevent a rollback
        return None
    return before.challenger


def _manifest_digest(releases: Path, version: str) -> str:
    release.verify(releases / version)
    return files.digest(releases / version / MANIFEST)


def _write(releases: Path, pointer: Pointer) -> None:
    files.write_text(releases / POINTER, pointer.model_dump_json(indent=2) + "\n", files.READABLE)


def read_pointer(releases: Path) -> Pointer | None:
    """None before the first release. Raises ReleaseRefused for an invalid pointer."""
    path = releases / POINTER
    try:
        return Pointer.model_validate_json(files.read_regular(path, MAX_POINTER_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ReleaseRefused(f"{path}: {error.strerror or error}") from None
    except ValidationError as error:
        raise ReleaseRefused(f"{path}: {error.errors()[0]['msg']}") from None


def require_pointer(releases: Path) -> Pointer:
    """The pointer. Raises NoRelease before the first release, ReleaseRefused for an invalid pointer."""
    pointer = read_pointer(releases)
    if pointer is None:
        raise NoRelease(f"{releases / POINTER}: no release yet; run `make train`")
    return pointer


def live_manifest(releases: Path, *, any_features: bool = False) -> Manifest | None:
    """The verified manifest of the live release; None before the first release. `any_features`: see release.verify."""
    pointer = read_pointer(releases)
    if pointer is None:
        return None
    return release.verify(releases / pointer.version, pointer.manifest_sha256, any_features=any_features)


def load_live(releases: Path) -> Release:
    """Verify and load the live release. Raises NoRelease, ReleaseRefused."""
    pointer = require_pointer(releases)
    return release.load(releases, pointer.version, pointer.manifest_sha256)
