"""A release is whole, verified before it is loaded, never overwritten, and pointed to atomically."""

from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ontime import release, schema
from ontime.release import Lineage, Manifest, NoRelease, ReleaseRefused

MODEL = b"not really a model, but bytes to guard"


def manifest(version: str = "1", content: bytes = MODEL, **changed: Any) -> Manifest:
    fields = {
        "name": "ontime",
        "version": version,
        "algorithm": "lightgbm",
        "features": schema.FEATURE_NAMES,
        "categories": dict.fromkeys(schema.CATEGORICAL, ("A", "B")),
        "threshold": 0.25,
        "usual_rate": 0.24,
        "lead_minutes": 120,
        "trained_from": date(2013, 1, 1),
        "trained_until": date(2013, 9, 1),
        "lineage": Lineage(git_commit="unknown", mlflow_run="none", dvc_lock={}),
        "sha256": {release.MODEL: sha256(content).hexdigest()},
    }
    return Manifest.model_validate({**fields, **changed})


@pytest.fixture
def releases(tmp_path: Path) -> Path:
    """Release 1 is published and current."""
    release.publish(tmp_path, MODEL, manifest())
    release.point(tmp_path, "1")
    return tmp_path


def test_what_was_published_is_what_is_current(releases: Path) -> None:
    assert release.current(releases) == manifest()


def test_before_the_first_release_there_is_none(tmp_path: Path) -> None:
    assert release.current(tmp_path) is None


def test_publishing_the_same_release_again_changes_nothing(releases: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in releases.rglob("*")}

    release.publish(releases, MODEL, manifest())

    assert {path: path.stat().st_mtime_ns for path in releases.rglob("*")} == before


def test_another_release_under_the_same_version_is_refused(releases: Path) -> None:
    with pytest.raises(ReleaseRefused, match=r"1 exists and is another release; versions are never overwritten"):
        release.publish(releases, b"other", manifest(content=b"other"))


def test_a_model_that_is_not_the_one_in_the_manifest_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ReleaseRefused, match=r"model.onnx: sha256 is not the one in manifest.json"):
        release.publish(tmp_path, b"other", manifest())

    assert list(tmp_path.iterdir()) == []


def test_publishing_moves_no_pointer(releases: Path) -> None:
    release.publish(releases, b"two", manifest("2", b"two"))

    assert release.current(releases) == manifest()


def test_the_pointer_goes_forward_and_back(releases: Path) -> None:
    release.publish(releases, b"two", manifest("2", b"two"))

    release.point(releases, "2")
    forward = release.current(releases)
    release.point(releases, "1")

    assert forward == manifest("2", b"two")
    assert release.current(releases) == manifest()


def test_the_pointer_never_names_a_release_that_is_not_there(releases: Path) -> None:
    with pytest.raises(ReleaseRefused, match=r"9/manifest.json: missing"):
        release.point(releases, "9")

    assert release.current(releases) == manifest()


@pytest.mark.parametrize("file", [release.MODEL, release.MANIFEST])
def test_a_changed_byte_is_refused_by_the_name_of_its_file(file: str, releases: Path) -> None:
    changed = releases / "1" / file
    changed.write_bytes(changed.read_bytes() + b" ")

    with pytest.raises(ReleaseRefused, match=rf"1/{file}: sha256 is not"):
        release.current(releases)


@pytest.mark.parametrize("file", [release.MODEL, release.MANIFEST])
def test_a_missing_file_is_named(file: str, releases: Path) -> None:
    (releases / "1" / file).unlink()

    with pytest.raises(ReleaseRefused, match=rf"1/{file}: missing"):
        release.current(releases)


def test_a_tampered_model_is_refused_before_it_is_parsed(releases: Path) -> None:
    """The bytes are no ONNX at all: parsing them would raise something else."""
    (releases / "1" / release.MODEL).write_bytes(b"garbage")

    with pytest.raises(ReleaseRefused, match="sha256"):
        release.load_current(releases)


def test_a_pointer_that_is_no_text_is_refused_by_name(releases: Path) -> None:
    (releases / release.POINTER).write_bytes(b"\xff\xfe")

    with pytest.raises(ReleaseRefused, match=r"current.json: Invalid JSON"):
        release.current(releases)


def test_loading_before_the_first_release_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NoRelease, match="run `make train`"):
        release.load_current(tmp_path)


def test_a_pointer_that_leads_out_of_the_folder_is_refused(releases: Path) -> None:
    (releases / release.POINTER).write_text('{"version": "../1", "manifest_sha256": "%s"}' % ("0" * 64))

    with pytest.raises(ReleaseRefused, match=r"current.json: String should match pattern"):
        release.current(releases)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"features": ("dep_delay", *schema.FEATURE_NAMES[1:])}, r"features are not this code's: .*dep_delay"),
        ({"features": schema.FEATURE_NAMES[::-1]}, "features are not this code's: the order"),
        ({"categories": {"carrier": ("A",)}}, "categories are of"),
        ({"sha256": {}}, "sha256 must list model.onnx"),
        ({"threshold": 1.5}, "less than 1"),
        ({"version": "../up"}, "String should match pattern"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(changed: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        manifest(**changed)
