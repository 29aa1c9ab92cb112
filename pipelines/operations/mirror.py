"""Copies releases and their signatures through a bucket: the worker pushes them, each service's sidecar pulls them.

    python -m pipelines.operations.mirror push              from ONTIME_RELEASES to ONTIME_RELEASES_STORE
    python -m pipelines.operations.mirror pull              and back, verified; the pointer last
    python -m pipelines.operations.mirror pull --every 5    ... again every five seconds
    python -m pipelines.operations.mirror pull --all        ... also releases that the pointer does not name

Both are idempotent and can be interrupted: a release's manifest is pushed after its files, the pointer after the
releases that it names, and a pulled release appears as a whole. While the bucket cannot be reached, the service
continues with the releases that it has. `--all` restores a worker that lost its releases.

Each attempt leaves its time in the folder of releases (ontime/heartbeat.py), for health checks and /metrics.

The mirror checks digests, and copies signatures unverified: it has no key. The service verifies them.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import fsspec
from botocore.exceptions import BotoCoreError
from pydantic import ValidationError

from ontime import environment, files, heartbeat, locks, release
from ontime.release import MANIFEST, SIGNATURE, ReleaseRefused
from ontime.release_pointer import LOCK, POINTER, Pointer
from ontime.settings import BadSettings, Settings, load_settings

LONGEST_INTERVAL_SECONDS = 86_400
RETRYABLE = (OSError, BotoCoreError, ReleaseRefused)  # a later attempt may succeed; s3fs raises S3's errors as OSError


class Store:
    """A bucket or folder, by its address."""

    def __init__(self, url: str) -> None:
        """Raises ValueError for an address of an unknown or uninstalled file system."""
        self._files, self._root = fsspec.core.url_to_fs(url)

    def read(self, name: str) -> bytes | None:
        """The bytes of an object; None if there is none."""
        try:
            content: bytes = self._files.cat_file(f"{self._root}/{name}")
        except FileNotFoundError:
            return None
        return content

    def versions(self) -> list[str]:
        """The releases that are complete: their manifest is written last."""
        self._files.invalidate_cache()
        return sorted(path.split("/")[-2] for path in self._files.glob(f"{self._root}/*/{MANIFEST}"))

    def write(self, name: str, content: bytes) -> None:
        path = f"{self._root}/{name}"
        self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
        self._files.pipe_file(path, content)


def push(releases: Path, store: Store) -> list[str]:
    """Copy what the store lacks. Returns what was copied.

    Raises ReleaseRefused if the store has another release of the same version.
    """
    copied = []
    # Read before the releases are listed and written last, so that the store has every release that it names.
    pointer = _pointer_bytes(releases)
    for version in release.published(releases):
        manifest = (releases / version / MANIFEST).read_bytes()
        stored_manifest = store.read(f"{version}/{MANIFEST}")
        if stored_manifest is None:
            for name in (*release.verify(releases / version, signed=False).sha256, SIGNATURE):
                store.write(f"{version}/{name}", (releases / version / name).read_bytes())
            store.write(f"{version}/{MANIFEST}", manifest)
            copied.append(f"release {version}")
        elif stored_manifest != manifest:
            raise ReleaseRefused(
                f"{version}/{MANIFEST}: the store has another release {version}, which is never overwritten"
            )
        elif _push_signature(releases / version, store):
            copied.append(f"the signature of release {version}")
    if pointer is not None and store.read(POINTER) != pointer:
        store.write(POINTER, pointer)
        copied.append("the pointer")
    return copied


def _push_signature(folder: Path, store: Store) -> bool:
    """Whether the signature of a stored release was copied: it changes with the key that signs."""
    name, signature = f"{folder.name}/{SIGNATURE}", folder / SIGNATURE
    if not signature.exists() or store.read(name) == signature.read_bytes():
        return False
    store.write(name, signature.read_bytes())
    return True


def pull(store: Store, releases: Path, *, everything: bool = False) -> list[str]:
    """Copy the releases that the store's pointer names, or all, then the pointer. Returns what was copied.

    Raises ReleaseRefused.
    """
    before = _pointer_bytes(releases)
    content = store.read(POINTER)
    if content is None:
        raise ReleaseRefused(f"{POINTER}: not in the store: nothing was pushed yet, or ONTIME_RELEASES_STORE is wrong")
    try:
        pointer = Pointer.model_validate_json(content)
    except ValidationError as error:
        raise ReleaseRefused(f"{POINTER} in the store: {error.errors()[0]['msg']}") from None
    digests: dict[str, str | None] = dict.fromkeys(store.versions() if everything else ())
    digests[pointer.version] = pointer.manifest_sha256
    if pointer.challenger is not None:
        digests[pointer.challenger.version] = pointer.challenger.manifest_sha256
    copied = [
        f"release {version}" for version, digest in digests.items() if _pull_one(store, releases, version, digest)
    ]
    with locks.wait_and_hold(releases / LOCK, "mirror"):
        if _pointer_bytes(releases) not in (before, content):
            raise ReleaseRefused(f"{releases / POINTER}: changed while the store was copied; retry")
        if before != content:
            files.write_text(releases / POINTER, content.decode(), files.READABLE)
            copied.append("the pointer")
    return copied


def _pointer_bytes(releases: Path) -> bytes | None:
    return (releases / POINTER).read_bytes() if (releases / POINTER).exists() else None


def _pull_one(store: Store, releases: Path, version: str, manifest_sha256: str | None) -> bool:
    """Whether the release was copied. Raises ReleaseRefused if it does not match the pointer's digest."""
    if (releases / version).exists():
        _pull_signature(store, releases / version)
        release.verify(releases / version, manifest_sha256, signed=False)
        return False
    temporary = Path(tempfile.mkdtemp(prefix=".pulling-", dir=releases))
    try:
        (temporary / MANIFEST).write_bytes(_required(store, f"{version}/{MANIFEST}"))
        manifest = release.Manifest.model_validate_json((temporary / MANIFEST).read_bytes())
        for name in (*manifest.sha256, SIGNATURE):
            (temporary / name).write_bytes(_required(store, f"{version}/{name}"))
        release.verify(temporary, manifest_sha256, signed=False)
        files.make_readable_tree(temporary)  # mkdtemp's 0700 would hide it from a service that runs as another user
        temporary.rename(releases / version)
    except ValidationError as error:
        raise ReleaseRefused(f"{version}/{MANIFEST} in the store: {error.errors()[0]['msg']}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def _pull_signature(store: Store, folder: Path) -> None:
    """Copy the signature of a release that was signed with another key after it was copied."""
    path, stored_signature = folder / SIGNATURE, store.read(f"{folder.name}/{SIGNATURE}")
    if stored_signature is not None and not (path.exists() and path.read_bytes() == stored_signature):
        with files.replacing(path, files.READABLE) as temporary:
            temporary.write_bytes(stored_signature)


def _required(store: Store, name: str) -> bytes:
    content = store.read(name)
    if content is None:
        raise ReleaseRefused(f"{name}: not in the store, although its pointer or manifest names it")
    return content


def copy_once(settings: Settings, direction: str, *, everything: bool = False) -> list[str]:
    """Push or pull once. Returns what was copied. Raises BadSettings, ReleaseRefused, or the store's own error."""
    if settings.releases_store is None:
        raise BadSettings("ONTIME_RELEASES_STORE is not set: set it to the address of the bucket")
    try:
        store = Store(settings.releases_store)
    except ValueError as error:
        raise BadSettings(f"ONTIME_RELEASES_STORE={settings.releases_store} {error}") from None
    release.make_folder(settings.releases)
    (settings.releases / heartbeat.ROUND).touch()
    copied = (
        push(settings.releases, store) if direction == "push" else pull(store, settings.releases, everything=everything)
    )
    (settings.releases / heartbeat.COPY).touch()
    return copied


def _interval(text: str) -> float:
    """Seconds between two copies, from an argument."""
    seconds = float(text)
    if not 0 < seconds <= LONGEST_INTERVAL_SECONDS:  # also false for NaN
        raise argparse.ArgumentTypeError(f"{text} is not more than 0 and at most {LONGEST_INTERVAL_SECONDS} seconds")
    return seconds


def main() -> None:
    parser: Any = argparse.ArgumentParser(prog="mirror")
    parser.add_argument("direction", choices=["push", "pull"])
    parser.add_argument("--every", type=_interval, metavar="SECONDS")
    parser.add_argument("--all", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # by default, a container's first process ignores SIGTERM
    last_message = ""
    while True:
        try:
            copied = copy_once(load_settings(), arguments.direction, everything=arguments.all)
            message = f"{arguments.direction}: {', '.join(copied)}" if copied else ""
        except BadSettings as bad:
            sys.exit(f"mirror: {bad}")
        except RETRYABLE as failed:
            message = f"{arguments.direction} failed: {failed}"
            if arguments.every is None:
                sys.exit(f"mirror: {message}")
        if message and message != last_message:  # an unreachable store is reported once, not every five seconds
            print(f"mirror: {message}", flush=True)
        last_message = message
        if arguments.every is None:
            return
        time.sleep(arguments.every)


if __name__ == "__main__":
    environment.enforce()
    main()
