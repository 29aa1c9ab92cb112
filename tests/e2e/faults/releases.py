"""Releases and pointers that a service must refuse, while the live release goes on."""

import json
import os
import shutil
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from threading import Thread

from ontime import release, release_pointer
from ontime.settings import Settings
from tests import hostile_models
from tests.e2e.faults.report import Figures
from tests.e2e.faults.world import Attack, longest_wait_ms
from tests.service import MORNING, Load, Service, running, wait_for
from tests.serving.test_reload import point_at

HOSTILE = "9"
LATE_SECONDS = 1.5
REASON_CHARACTERS = 160
REFUSED = "release refused: "


def _publish_hostile(settings: Settings, model: bytes) -> None:
    """Signed with the right key, and with right digests."""
    manifest = release_pointer.load_live(settings.releases).manifest
    contents = {name: (settings.releases / "1" / name).read_bytes() for name in manifest.sha256} | {"model.onnx": model}
    digests = {name: sha256(content).hexdigest() for name, content in contents.items()}
    release.publish(settings.releases, contents, manifest.model_copy(update={"version": HOSTILE, "sha256": digests}))


def _refusal(service: Service, load: Load, moved_at: float) -> Figures:
    """Wait until the newest release is refused, and then for one that replaces it."""
    wait_for(lambda: any("refused" in note for note in service.get("/health/ready")["notes"]), 90)
    refused_seconds = time.monotonic() - moved_at
    return {
        "seconds until it is refused": round(refused_seconds, 1),
        "requests answered meanwhile": len(load.answers),
        "failed": len(load.failures),
        "longest wait of a caller in ms": longest_wait_ms(load),
    }


@contextmanager
def _reading_log(service: Service) -> Iterator[list[str]]:
    """The lines of the log after the block, which stops the service: it drops lines that nobody reads for long."""
    lines: list[str] = []
    assert service.process.stdout is not None
    thread = Thread(target=lines.extend, args=((line.decode() for line in service.process.stdout),))
    thread.start()
    yield lines
    service.stop()
    thread.join()


def _reason(lines: Sequence[str], settings: Settings) -> str:
    line = next(line for line in lines if REFUSED in line)
    reason = str(json.loads(line)["message"]).removeprefix(REFUSED)
    return textwrap.shorten(reason.replace(f"{settings.releases.parent}/", ""), REASON_CHARACTERS, placeholder=" ...")


def _serve_hostile(settings: Settings, model: bytes) -> Figures:
    _publish_hostile(settings, model)
    with running(settings) as service, _reading_log(service) as lines, Load(service.port, MORNING, callers=2) as load:
        point_at(settings.releases, HOSTILE)
        figures = _refusal(service, load, time.monotonic())
    return figures | {"reason in the log": _reason(lines, settings)}


def never_ending_model(settings: Settings) -> Figures:
    return _serve_hostile(settings, hostile_models.never_ends())


def model_with_large_constant(settings: Settings) -> Figures:
    return _serve_hostile(settings, hostile_models.large_constant())


def forged_release(settings: Settings) -> Figures:
    """Release 2 under another number: digests agree, and nobody has signed it."""
    manifest = release_pointer.load_live(settings.releases).manifest
    folder = settings.releases / HOSTILE
    shutil.copytree(settings.releases / "2", folder)
    (folder / release.MANIFEST).write_text(manifest.model_copy(update={"version": HOSTILE}).model_dump_json())
    with running(settings) as service, _reading_log(service) as lines, Load(service.port, MORNING, callers=2) as load:
        point_at(settings.releases, HOSTILE)
        figures = _refusal(service, load, time.monotonic())
    return figures | {"reason in the log": _reason(lines, settings)}


def fifo_pointer(settings: Settings) -> Figures:
    pointer = settings.releases / release_pointer.POINTER
    with running(settings) as service, _reading_log(service) as lines:
        with Load(service.port, MORNING, callers=2) as load:
            pointer.unlink()
            os.mkfifo(pointer)
            figures = _refusal(service, load, time.monotonic())
        pointer.unlink()
        release_pointer.set_live(settings.releases, "2")
        repaired_at = time.monotonic()
        wait_for(lambda: service.get("/health/ready")["model_version"] == "2")
        live_seconds = time.monotonic() - repaired_at
    return figures | {
        "seconds until the next pointer is followed": round(live_seconds, 1),
        "reason in the log": _reason(lines, settings),
    }


def late_folder(settings: Settings) -> Figures:
    hidden = settings.releases.parent / "late"
    with running(settings) as service, Load(service.port, MORNING, callers=2) as load:
        (settings.releases / "2").rename(hidden)
        (settings.releases / release_pointer.POINTER).write_text(
            release_pointer.require_pointer(settings.releases)
            .model_copy(
                update={"version": "2", "manifest_sha256": sha256((hidden / release.MANIFEST).read_bytes()).hexdigest()}
            )
            .model_dump_json()
        )
        time.sleep(LATE_SECONDS)
        hidden.rename(settings.releases / "2")
        appeared_at = time.monotonic()
        wait_for(lambda: service.get("/health/ready")["model_version"] == "2", 90)
        live_seconds = time.monotonic() - appeared_at
    return {
        "seconds until it is live after it has appeared": round(live_seconds, 1),
        "requests answered": len(load.answers),
        "failed": len(load.failures),
    }


ATTACKS = [
    Attack("a release whose model never ends (an endless Loop)", never_ending_model),
    Attack("a release with a constant of 24 GB", model_with_large_constant),
    Attack("a forged release: its digests agree, its signature does not", forged_release),
    Attack("a pointer that is a FIFO", fifo_pointer),
    Attack(f"a release whose folder appears {LATE_SECONDS} s after its pointer", late_folder),
]
