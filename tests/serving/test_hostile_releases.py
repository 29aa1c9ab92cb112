"""Whatever a release holds, it is refused by name, the old one goes on, and the pointer is followed further."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ontime import release, release_check, release_pointer
from ontime.release_pointer import Challenger
from ontime.settings import Settings
from pipelines.operations.local_server import free_port
from serving.app import create_app
from serving.model_store import ModelStore
from tests import ROOT, hostile_models
from tests.library.test_release import publish_changed
from tests.service import COMMAND, MORNING, environment, running, wait_for
from tests.serving.test_reload import point_at
from tests.small_world import Small

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (hostile_models.one_dimension, "returns [20] for 20 rows"),
        (hostile_models.fails_to_run, "fails to predict"),
        (hostile_models.large_constant, "Failed to allocate memory"),
    ],
)
def test_a_release_that_cannot_predict_is_refused_and_the_next_one_goes_live(
    model: hostile_models.MakeModel, reason: str, settings: Settings, small: Small
) -> None:
    publish_changed(small, settings.releases, model_onnx=model())
    store = ModelStore(settings.releases)
    point_at(settings.releases, "9")

    store.reload()
    refusal = store.refusal
    release_pointer.set_live(settings.releases, "2")
    store.reload()

    assert refusal is not None
    assert reason in refusal
    assert (store.refusal, store.live.champion.manifest.version) == (None, "2")


def test_a_release_that_never_ends_delays_no_request_and_no_stop(settings: Settings, small: Small) -> None:
    publish_changed(small, settings.releases, model_onnx=hostile_models.never_ends())
    with running(settings) as service:
        point_at(settings.releases, "9")
        time.sleep(2)  # the child process runs
        answer = service.post("/v1/predictions", MORNING)
        started_at = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        status = service.process.wait(timeout=20)

    assert (answer["model_version"], status) == ("1", 0)
    assert time.monotonic() - started_at < 20


def test_a_service_does_not_start_with_a_release_that_never_ends(settings: Settings, small: Small) -> None:
    publish_changed(small, settings.releases, model_onnx=hostile_models.never_ends())
    point_at(settings.releases, "9")
    code = (
        "from serving import model_store, server; model_store.start_deadline.__wrapped__.__defaults__ = (3,);"
        "server.main()"
    )

    process = subprocess.run(
        [COMMAND[0], "-c", code],
        cwd=ROOT,
        env=environment(settings, ONTIME_PORT=str(free_port())),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert process.returncode == 1
    assert "serve: the live release was not loaded and probed within 3 s" in process.stderr


def test_a_pointer_that_is_a_fifo_is_refused(settings: Settings) -> None:
    with TestClient(create_app(settings)) as client:
        (settings.releases / release_pointer.POINTER).unlink()
        os.mkfifo(settings.releases / release_pointer.POINTER)
        wait_for(lambda: bool(client.get("/health/ready").json()["notes"]))
        (settings.releases / release_pointer.POINTER).unlink()
        release_pointer.set_live(settings.releases, "2")
        wait_for(lambda: bool(client.get("/health/ready").json()["model_version"] == "2"))


def test_a_release_that_appears_after_its_pointer_goes_live(settings: Settings) -> None:
    hidden = settings.releases.parent / "2"
    with TestClient(create_app(settings)) as client:
        point_at(settings.releases, "2")
        (settings.releases / "2").rename(hidden)
        (settings.releases / release_pointer.POINTER).touch()
        wait_for(lambda: bool(client.get("/health/ready").json()["notes"]))
        hidden.rename(settings.releases / "2")

        wait_for(lambda: bool(client.get("/health/ready").json()["model_version"] == "2"))


def with_missing_challenger(releases: Path) -> None:
    pointer = release_pointer.require_pointer(releases)
    challenger = Challenger(version="7", manifest_sha256="0" * 64, share=0.5)
    moved = pointer.model_copy(update={"challenger": challenger})
    (releases / release_pointer.POINTER).write_text(moved.model_dump_json())


def test_a_champion_starts_without_its_missing_challenger(settings: Settings) -> None:
    with_missing_challenger(settings.releases)

    with TestClient(create_app(settings)) as client:
        ready = client.get("/health/ready").json()
        answer = client.post("/v1/predictions", json=MORNING).json()

    assert (ready["model_version"], ready["challenger"], answer["model_version"]) == ("1", None, "1")
    assert ready["notes"][0].startswith("the challenger was refused")


def test_a_champion_goes_live_without_its_missing_challenger(settings: Settings) -> None:
    store = ModelStore(settings.releases)
    release_pointer.set_live(settings.releases, "2")
    with_missing_challenger(settings.releases)

    store.reload()

    assert (store.live.champion.manifest.version, store.live.challenger, store.refusal) == ("2", None, None)
    assert store.challenger_refusal is not None
    assert "missing" in store.challenger_refusal


def test_a_release_that_is_live_is_not_loaded_again(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store = ModelStore(settings.releases)
    before = store.live.champion
    release_pointer.set_challenger(settings.releases, "2")
    store.reload()
    challenger = store.live.challenger
    monkeypatch.setattr(release, "load", None)

    release_pointer.set_live(settings.releases, "2", watched=True)
    store.reload()

    assert (store.live.champion, store.live.challenger) == (challenger, before)


def test_an_unexpected_error_is_a_refusal_that_is_tried_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise AssertionError("unexpected")

    with TestClient(create_app(settings)) as client:
        with monkeypatch.context() as patch:
            patch.setattr(release_check, "check_in_child", broken)
            release_pointer.set_live(settings.releases, "2")
            wait_for(lambda: bool(client.get("/health/ready").json()["notes"]))
            note = client.get("/health/ready").json()["notes"][0]
        wait_for(lambda: bool(client.get("/health/ready").json()["model_version"] == "2"))

    assert note.startswith("the newest release was refused")
