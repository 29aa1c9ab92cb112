"""Releases through a store: they arrive complete and verified, or not at all."""

import os
import time
from contextlib import nullcontext
from pathlib import Path

import pytest

from ontime import heartbeat, release, release_pointer
from ontime.release import ReleaseRefused
from ontime.settings import Settings
from pipelines.operations import mirror
from tests.small_world import Small


@pytest.fixture
def store(tmp_path: Path) -> mirror.Store:
    """A folder instead of a bucket, through the same interface."""
    return mirror.Store(f"file://{tmp_path}/store")


def test_a_release_is_the_same_after_push_and_pull(settings: Settings, store: mirror.Store, tmp_path: Path) -> None:
    pushed = mirror.push(settings.releases, store)

    pulled = mirror.pull(store, _made(tmp_path / "pulled"))

    assert pushed == ["release 1", "release 2", "the pointer"]
    assert pulled == ["release 1", "the pointer"]  # the pointer does not name release 2
    assert (
        release_pointer.load_live(tmp_path / "pulled").manifest == release_pointer.load_live(settings.releases).manifest
    )


def test_a_pointer_that_moves_during_a_push_is_pushed_after_the_release_that_it_names(
    settings: Settings, store: mirror.Store, small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = mirror.Store.write

    def meanwhile(self: mirror.Store, name: str, content: bytes) -> None:
        real(self, name, content)
        if name == "2/manifest.json":
            release.publish(settings.releases, small.contents, small.manifest("3"))
            release_pointer.set_live(settings.releases, "3")

    with monkeypatch.context() as patched:
        patched.setattr(mirror.Store, "write", meanwhile)
        mirror.push(settings.releases, store)

    assert store.read("3/manifest.json") is None
    assert b'"version": "1"' in (store.read("current.json") or b"")
    assert mirror.push(settings.releases, store) == ["release 3", "the pointer"]


def test_a_pointer_that_moves_during_a_pull_is_not_overwritten(
    settings: Settings, store: mirror.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.push(settings.releases, store)
    real = mirror.Store.versions

    def meanwhile(self: mirror.Store) -> list[str]:
        release_pointer.set_live(settings.releases, "2")
        return real(self)

    monkeypatch.setattr(mirror.Store, "versions", meanwhile)

    with pytest.raises(ReleaseRefused, match=r"current.json: changed while the store was copied; retry"):
        mirror.pull(store, settings.releases, everything=True)

    assert release_pointer.require_pointer(settings.releases).version == "2"


def test_only_a_copy_that_succeeds_counts_as_one(settings: Settings, store: mirror.Store, tmp_path: Path) -> None:
    """And each attempt leaves its time, so that a mirror that hangs differs from one that cannot reach the store."""
    mirrored = settings.model_copy(
        update={"releases": tmp_path / "pulled", "releases_store": f"file://{tmp_path}/store"}
    )
    with pytest.raises(ReleaseRefused, match="nothing was pushed yet"):
        mirror.copy_once(mirrored, "pull")
    failed = {path.name for path in mirrored.releases.iterdir()}, heartbeat.last_copy_seconds(mirrored.releases)
    mirror.push(settings.releases, store)
    started_at = time.time() - 1  # file systems round

    mirror.copy_once(mirrored, "pull")

    copied_at = heartbeat.last_copy_seconds(mirrored.releases)
    assert failed == ({heartbeat.ROUND}, None)
    assert copied_at is not None
    assert copied_at > started_at


@pytest.mark.parametrize("age_minutes", [0, 4, 6, None])
def test_a_probe_fails_if_its_file_is_old_or_missing(
    age_minutes: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touched = tmp_path / "releases" / heartbeat.ROUND
    if age_minutes is not None:
        touched.parent.mkdir()
        touched.touch()
        moment = time.time() - 60 * age_minutes
        os.utime(touched, (moment, moment))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["heartbeat", "round"])

    healthy = age_minutes in (0, 4)
    with nullcontext() if healthy else pytest.raises(SystemExit, match="is missing or older than 300 seconds"):
        heartbeat.main()


@pytest.mark.parametrize("seconds", ["nan", "inf", "0", "-5", "86401"])
def test_an_interval_that_is_not_one_is_refused(
    seconds: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mirror", "pull", f"--every={seconds}"])

    with pytest.raises(SystemExit):
        mirror.main()

    assert f"--every: {seconds} is not more than 0 and at most 86400 seconds" in capsys.readouterr().err


def test_a_worker_that_lost_its_releases_can_restore_all_of_them(
    settings: Settings, store: mirror.Store, tmp_path: Path
) -> None:
    release_pointer.set_live(settings.releases, "2")
    mirror.push(settings.releases, store)

    mirror.pull(store, _made(tmp_path / "pulled"), everything=True)

    assert release.published(tmp_path / "pulled") == ["1", "2"]
    assert release_pointer.revert(tmp_path / "pulled") == "1"


def test_a_second_push_and_pull_copy_nothing(settings: Settings, store: mirror.Store, tmp_path: Path) -> None:
    mirror.push(settings.releases, store)
    mirror.pull(store, _made(tmp_path / "pulled"))

    assert mirror.push(settings.releases, store) == []
    assert mirror.pull(store, tmp_path / "pulled") == []


def test_promotion_challenge_and_rollback_are_mirrored(settings: Settings, store: mirror.Store, tmp_path: Path) -> None:
    pulled = _made(tmp_path / "pulled")
    pointers = []
    for move in (
        lambda: release_pointer.set_challenger(settings.releases, "2", 0.1),
        lambda: release_pointer.set_live(settings.releases, "2"),
        lambda: release_pointer.revert(settings.releases),
    ):
        move()
        mirror.push(settings.releases, store)
        mirror.pull(store, pulled)
        pointers.append(release_pointer.read_pointer(pulled))

    assert [pointer.version for pointer in pointers if pointer] == ["1", "2", "1"]
    assert [bool(pointer and pointer.challenger) for pointer in pointers] == [True, False, False]


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json", "probe.json"])
def test_a_file_that_was_altered_in_the_store_is_refused(
    name: str, settings: Settings, store: mirror.Store, tmp_path: Path
) -> None:
    mirror.push(settings.releases, store)
    content = store.read(f"1/{name}")
    assert content is not None
    store.write(f"1/{name}", content.replace(b"1", b"2"))
    pulled = _made(tmp_path / "pulled")

    with pytest.raises(ReleaseRefused):
        mirror.pull(store, pulled)

    assert list(pulled.iterdir()) == []


def test_an_interrupted_push_is_completed_by_the_next(
    settings: Settings, store: mirror.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, written = mirror.Store.write, list[str]()

    def interrupted(self: mirror.Store, name: str, content: bytes) -> None:
        if len(written) == 2:
            raise ConnectionResetError("connection lost")
        written.append(name)
        real(self, name, content)

    with monkeypatch.context() as patched:
        patched.setattr(mirror.Store, "write", interrupted)
        with pytest.raises(ConnectionResetError):
            mirror.push(settings.releases, store)
    with pytest.raises(ReleaseRefused, match=r"current\.json: not in the store"):
        mirror.pull(store, _made(tmp_path / "pulled"))  # between the two pushes
    mirror.push(settings.releases, store)

    assert mirror.pull(store, tmp_path / "pulled") == ["release 1", "the pointer"]


def test_another_release_of_the_same_version_is_refused(
    settings: Settings, store: mirror.Store, small: Small, tmp_path: Path
) -> None:
    mirror.push(settings.releases, store)
    elsewhere = tmp_path / "elsewhere"
    release.publish(elsewhere, small.contents, small.manifest("2"))

    with pytest.raises(ReleaseRefused, match="the store has another release 2"):
        mirror.push(elsewhere, store)


def test_a_pointer_to_a_release_that_the_store_lacks_is_refused(
    settings: Settings, store: mirror.Store, tmp_path: Path
) -> None:
    store.write("current.json", (settings.releases / "current.json").read_bytes())

    with pytest.raises(ReleaseRefused, match=r"1/manifest\.json: not in the store, although"):
        mirror.pull(store, _made(tmp_path / "pulled"))


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_a_release_that_is_signed_again_reaches_the_service(
    settings: Settings, store: mirror.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror.push(settings.releases, store)
    mirror.pull(store, _made(tmp_path / "pulled"))
    monkeypatch.setenv("ONTIME_SIGNING_KEY", str(tmp_path / "key.pem"))
    monkeypatch.setenv("ONTIME_TRUSTED_KEYS", str(tmp_path / "trusted_keys"))
    release.write_signature(settings.releases / "1")

    pushed = mirror.push(settings.releases, store)
    mirror.pull(store, tmp_path / "pulled")

    assert pushed == ["the signature of release 1"]
    assert release_pointer.load_live(tmp_path / "pulled").manifest.version == "1"
