"""A release is whole, verified before it is loaded, never overwritten, and pointed to atomically."""

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from ontime import online, release, release_pointer, schema
from ontime.problem import schedule
from ontime.release import Manifest, Probe, ReleaseRefused
from ontime.release_pointer import NoRelease
from tests.small_world import Small


@pytest.fixture
def releases(small: Small, tmp_path: Path) -> Path:
    """Release 1 is published and current."""
    release.publish(tmp_path, small.contents, small.manifest("1"))
    release_pointer.set_live(tmp_path, "1")
    return tmp_path


@pytest.fixture
def three(releases: Path, other: Small) -> Path:
    """Releases 1, 2 and 3 are published, 1 is current."""
    for version in ("2", "3"):
        release.publish(releases, other.contents, other.manifest(version))
    return releases


def test_what_was_published_is_what_is_current(releases: Path, small: Small) -> None:
    assert release_pointer.live_manifest(releases) == small.manifest("1")


def test_before_the_first_release_there_is_none(tmp_path: Path) -> None:
    assert release_pointer.live_manifest(tmp_path) is None


def test_publishing_the_same_release_again_changes_nothing(releases: Path, small: Small) -> None:
    before = {path: path.stat().st_mtime_ns for path in releases.rglob("*")}

    release.publish(releases, small.contents, small.manifest("1"))

    assert {path: path.stat().st_mtime_ns for path in releases.rglob("*")} == before


def test_another_release_under_the_same_version_is_refused(releases: Path, other: Small) -> None:
    with pytest.raises(ReleaseRefused, match=r"1 exists and is another release; versions are never overwritten"):
        release.publish(releases, other.contents, other.manifest("1"))


def test_a_model_that_is_not_the_one_in_the_manifest_is_not_published(
    small: Small, other: Small, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseRefused, match=r"model.onnx: sha256 is not the one in manifest.json"):
        release.publish(tmp_path, other.contents, small.manifest("1"))

    assert list(tmp_path.iterdir()) == []


def publish_changed(small: Small, releases: Path, **changed: bytes) -> None:
    """Publish release 9, whole and with right digests, but with other files."""
    contents = {**small.contents, **{name.replace("_", "."): content for name, content in changed.items()}}
    digests = {name: sha256(content).hexdigest() for name, content in contents.items()}
    release.publish(releases, contents, small.manifest("9").model_copy(update={"sha256": digests}))


def narrow_model() -> bytes:
    """A valid ONNX file that takes three features."""
    taken = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [None, 3])
    given = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [None, 3])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "narrow", [taken], [given])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"model_onnx": b"no ONNX at all"}, r"model.onnx: not valid ONNX"),
        ({"model_onnx": b""}, r"model.onnx: not valid ONNX"),
        ({"model_onnx": narrow_model()}, r"model.onnx: takes tensor\(float\) \[None, 3\], not .*85"),
        ({"probe_json": b"[{}]"}, r"probe.json: Field required at \(0, 'entity'\)"),
        ({"probe_json": b"nothing"}, r"probe.json: Invalid JSON"),
        ({"trees_npz": b"PK no trees"}, r"trees.npz: no trees in it"),
    ],
)
def test_a_release_that_no_service_could_load_is_not_published(
    changed: dict[str, bytes], reason: str, small: Small, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseRefused, match=reason):
        publish_changed(small, tmp_path, **changed)

    assert list(tmp_path.iterdir()) == []


def test_a_proven_release_gives_its_probes_what_it_gave_them_in_training(releases: Path) -> None:
    loaded = release_pointer.load_live(releases)

    online.check_probes(loaded)

    assert len(loaded.probes) == 20
    assert {probe.online is None for probe in loaded.probes} == {True, False}


def test_a_whole_model_of_another_training_is_found_by_its_probes(releases: Path, small: Small, other: Small) -> None:
    publish_changed(small, releases, model_onnx=other.contents[release.MODEL])

    with pytest.raises(ReleaseRefused, match=r"release 9: \w+-\w{3}-\w+ gets 0\.\d+, not 0\.\d+"):
        online.check_probes(release.load(releases, "9"))


def test_code_that_computes_a_feature_otherwise_is_found_by_the_probes(
    releases: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Skew between training and serving: the digests are right, and the answers are not."""
    loaded = release_pointer.load_live(releases)
    monkeypatch.setattr(schedule, "CLOCK", "UTC")

    with pytest.raises(ReleaseRefused, match=r"release 1: .* gets"):
        online.check_probes(loaded)


def test_trees_of_another_model_are_found_by_the_probes(releases: Path, small: Small, other: Small) -> None:
    publish_changed(small, releases, trees_npz=other.contents[release.TREES])

    with pytest.raises(ReleaseRefused, match=r"release 9: the reasons of .* add up to"):
        online.check_probes(release.load(releases, "9"))


def test_a_release_without_probes_proves_nothing(releases: Path, small: Small) -> None:
    publish_changed(small, releases, probe_json=b"[]")

    with pytest.raises(ReleaseRefused, match=r"release 9: probe.json holds no entity"):
        online.check_probes(release.load(releases, "9"))


def test_a_probe_holds_an_unknown_feature_as_null(releases: Path) -> None:
    vectors = [probe.online for probe in release_pointer.load_live(releases).probes if probe.online]

    assert any(None in vector for vector in vectors)
    assert not any(value is not None and np.isnan(value) for vector in vectors for value in vector)
    assert Probe.model_fields.keys() == {"entity", "online", "texts", "probability"}


def test_publishing_moves_no_pointer(three: Path, small: Small) -> None:
    assert release_pointer.live_manifest(three) == small.manifest("1")
    assert release.published(three) == ["1", "2", "3"]


def test_the_pointer_goes_forward_and_back(three: Path) -> None:
    release_pointer.set_live(three, "2")
    release_pointer.set_live(three, "3")

    assert [release_pointer.revert(three), release_pointer.revert(three)] == ["2", "1"]
    pointer = release_pointer.read_pointer(three)
    assert pointer is not None
    assert (pointer.version, pointer.history, pointer.rolled_back) == ("1", (), ("3", "2"))


def test_there_is_no_way_back_before_the_first_release(releases: Path) -> None:
    with pytest.raises(NoRelease, match="there is no earlier release to roll back to"):
        release_pointer.revert(releases)


def test_a_version_that_is_promoted_again_is_no_longer_rolled_back(three: Path) -> None:
    release_pointer.set_live(three, "2")
    release_pointer.revert(three)

    release_pointer.set_live(three, "2")

    pointer = release_pointer.read_pointer(three)
    assert pointer is not None
    assert (pointer.version, pointer.history, pointer.rolled_back) == ("2", ("1",), ())


def test_pointing_to_what_answers_already_changes_nothing(three: Path) -> None:
    release_pointer.set_live(three, "2")
    before = (three / release_pointer.POINTER).read_bytes()

    release_pointer.set_live(three, "2")

    assert (three / release_pointer.POINTER).read_bytes() == before


def test_a_challenger_that_is_promoted_challenges_nobody(three: Path) -> None:
    release_pointer.set_challenger(three, "2", 0.5)

    release_pointer.set_live(three, "2")

    pointer = release_pointer.read_pointer(three)
    assert pointer is not None
    assert pointer.challenger is None


def test_a_challenger_stays_when_a_third_release_is_promoted(three: Path) -> None:
    release_pointer.set_challenger(three, "2", 0.5)

    release_pointer.set_live(three, "3")

    pointer = release_pointer.read_pointer(three)
    assert pointer is not None
    assert pointer.challenger is not None
    assert (pointer.challenger.version, pointer.challenger.share) == ("2", 0.5)


def test_the_champion_cannot_challenge_itself(releases: Path) -> None:
    with pytest.raises(ReleaseRefused, match="release 1 is live; it cannot challenge itself"):
        release_pointer.set_challenger(releases, "1")


def test_the_pointer_never_names_a_release_that_is_not_there(releases: Path, small: Small) -> None:
    for move in (release_pointer.set_live, release_pointer.set_challenger):
        with pytest.raises(ReleaseRefused, match=r"9/manifest.json: missing"):
            move(releases, "9")

    assert release_pointer.live_manifest(releases) == small.manifest("1")


@pytest.mark.parametrize("file", [release.MODEL, release.PROBE, release.TREES, release.MANIFEST])
def test_a_changed_byte_is_refused_by_the_name_of_its_file(file: str, releases: Path) -> None:
    changed = releases / "1" / file
    changed.write_bytes(changed.read_bytes() + b" ")

    with pytest.raises(ReleaseRefused, match=rf"1/{file}: sha256 is not"):
        release_pointer.live_manifest(releases)


@pytest.mark.parametrize("file", [release.MODEL, release.PROBE, release.TREES, release.MANIFEST])
def test_a_missing_file_is_named(file: str, releases: Path) -> None:
    (releases / "1" / file).unlink()

    with pytest.raises(ReleaseRefused, match=rf"1/{file}: missing"):
        release_pointer.live_manifest(releases)


def test_a_tampered_model_is_refused_before_it_is_parsed(releases: Path) -> None:
    """The bytes are no ONNX at all: parsing them would raise something else."""
    (releases / "1" / release.MODEL).write_bytes(b"garbage")

    with pytest.raises(ReleaseRefused, match="sha256"):
        release_pointer.load_live(releases)


def test_a_pointer_that_is_no_text_is_refused_by_name(releases: Path) -> None:
    (releases / release_pointer.POINTER).write_bytes(b"\xff\xfe")

    with pytest.raises(ReleaseRefused, match=r"current.json: Invalid JSON"):
        release_pointer.live_manifest(releases)


def test_loading_before_the_first_release_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NoRelease, match="run `make train`"):
        release_pointer.load_live(tmp_path)


def test_a_pointer_that_leads_out_of_the_folder_is_refused(releases: Path) -> None:
    (releases / release_pointer.POINTER).write_text('{"version": "../1", "manifest_sha256": "%s"}' % ("0" * 64))

    with pytest.raises(ReleaseRefused, match=r"current.json: String should match pattern"):
        release_pointer.live_manifest(releases)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"sha256": {}}, "sha256 must list model.onnx, probe.json, reference.parquet and perhaps trained_on.bin"),
        ({"threshold": 1.5}, "less than 1"),
        ({"version": "../up"}, "String should match pattern"),
        ({"problem": "churn"}, "made for the problem churn, and this is flights: move releases/ away, then `make tr"),
        ({"problem": None}, "made before releases named their problem .*, and this is flights: move rel"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(changed: dict[str, Any], reason: str, small: Small) -> None:
    fields = small.manifest("1").model_dump()

    with pytest.raises(ValueError, match=reason):
        Manifest.model_validate({**fields, **changed})


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"features": ("dep_delay", *schema.FEATURE_NAMES[1:])}, r"features are not this code's: .*dep_delay"),
        ({"features": schema.FEATURE_NAMES[::-1]}, "features are not this code's: the order"),
        ({"categories": {"carrier": ("A",)}}, "categories are of"),
    ],
)
def test_a_release_with_features_of_other_code_is_not_published(
    changed: dict[str, Any], reason: str, small: Small, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseRefused, match=reason):
        release.publish(tmp_path, small.contents, small.manifest("1").model_copy(update=changed))

    assert list(tmp_path.iterdir()) == []


def test_loading_a_release_tells_nobody(releases: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """ONNX Runtime keeps what it is about to report in the home folder, and is silent where `CI` is set."""
    home = tmp_path_factory.mktemp("home")
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "ORT_DISABLE_TELEMETRY")}
    load = "from pathlib import Path; from ontime import release_pointer; "
    load += f"release_pointer.load_live(Path({str(releases)!r}))"

    subprocess.run([sys.executable, "-c", load], env={**kept, "HOME": str(home), "XDG_CACHE_HOME": ""}, check=True)

    assert list(home.rglob("*")) == []
