"""Faults in a release, between its making and its answers."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ontime import files, online, release, release_pointer, times
from ontime.problem import schedule
from ontime.release import MODEL, ReleaseRefused
from ontime.times import Moments
from pipelines.operations import lineage, packaging
from serving.model_store import ModelStore
from tests import PARAMS_YAML
from tests.sabotage import matrix
from tests.sabotage.conftest import Reported
from tests.sabotage.matrix import sabotage
from tests.sabotage.world import Model


def proven(releases: Path) -> None:
    """What each worker of the service does before a release answers."""
    online.check_probes(release_pointer.load_live(releases))


def refusal(releases: Path) -> ReleaseRefused:
    with pytest.raises(ReleaseRefused) as refused:
        proven(releases)
    return refused.value


def redigested(made: Model, **changed: Any) -> Model:
    """A complete release with correct digests, whose files do not belong together."""
    contents = {**made.contents, **{name.replace("_", "."): content for name, content in changed.items()}}
    return made._replace(contents=contents)


@sabotage("tampered release", "one changed byte of the model while the service runs", matrix.DIGESTS)
def test_a_changed_byte_is_refused_and_the_old_release_goes_on(
    winter: Model, other: Model, releases: Path, reported: Reported
) -> None:
    other.publish(releases, "2")
    store = ModelStore(releases)
    release_pointer.set_live(releases, "2")
    store.reload()
    assert store.live.champion.manifest.version == "2"
    release_pointer.revert(releases)

    content = bytearray(winter.contents[MODEL])
    content[len(content) // 2] ^= 1
    (releases / "1" / MODEL).write_bytes(content)
    store.reload()

    assert store.live.champion.manifest.version == "2"
    reported(store.refusal)


@sabotage("tampered release", "the alert threshold in the manifest", matrix.DIGESTS)
def test_a_changed_manifest_is_refused(releases: Path, reported: Reported) -> None:
    proven(releases)

    path = releases / "1" / release.MANIFEST
    path.write_text(path.read_text().replace('"threshold": 0.25', '"threshold": 0.95'))

    reported(refusal(releases))


@sabotage("tampered release", "another model in the release, with correct digests", matrix.PROBES)
def test_another_model_with_right_digests_does_not_give_the_probes(
    winter: Model, other: Model, releases: Path, reported: Reported
) -> None:
    proven(releases)

    redigested(winter, model_onnx=other.contents[MODEL]).publish(releases, "2")
    release_pointer.set_live(releases, "2")

    message = str(refusal(releases))
    reported(message.split(" gets ")[0] + " gets another probability than when it was published")


@sabotage("tampered release", "the trees of another model, from which reasons are computed", matrix.REASONS)
def test_reasons_of_another_model_do_not_add_up(
    winter: Model, other: Model, releases: Path, reported: Reported
) -> None:
    proven(releases)

    redigested(winter, trees_npz=other.contents[release.TREES]).publish(releases, "2")
    release_pointer.set_live(releases, "2")

    message = str(refusal(releases))
    reported(message.split(" add up to ")[0] + " add up to another probability")


@sabotage("tampered release", "a file of trees that holds no trees", matrix.TREES)
def test_a_file_that_holds_no_trees_is_not_published(winter: Model, tmp_path: Path, reported: Reported) -> None:
    winter.publish(tmp_path, "1")

    with pytest.raises(ReleaseRefused) as refused:
        redigested(winter, trees_npz=b"no trees").publish(tmp_path, "2")

    reported(refused.value)


@sabotage("tampered release", "another model published under a version that exists", matrix.OVERWRITE)
def test_a_version_is_never_another_model(winter: Model, other: Model, releases: Path, reported: Reported) -> None:
    winter.publish(releases, "1")

    with pytest.raises(ReleaseRefused) as refused:
        other.publish(releases, "1")

    reported(refused.value)


@sabotage(
    "tampered release",
    "everything replaced, model, probes, manifest, signature and pointer, by someone with write access and another key",
    matrix.SIGNATURES,
)
def test_a_release_that_is_replaced_whole_is_refused(
    other: Model, releases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    proven(releases)

    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("ONTIME_SIGNING_KEY", str(tmp_path / "forger.pem"))
        elsewhere.setenv("ONTIME_TRUSTED_KEYS", str(tmp_path / "forger"))
        for path in (releases / "1").iterdir():
            path.unlink()
        (releases / "1").rmdir()
        other.publish(releases, "1")
        (releases / release_pointer.POINTER).unlink()
        release_pointer.set_live(releases, "1")
        proven(releases)  # where the forger's key is trusted

    message = str(refusal(releases))
    reported(message.split(" with the key ")[0] + " with another key")


@sabotage(
    "tampered release", "a whole release with correct digests, published without the private key", matrix.SIGNATURES
)
def test_a_release_without_a_signature_is_refused(other: Model, releases: Path, reported: Reported) -> None:
    proven(releases)

    other.publish(releases, "2")
    release_pointer.set_live(releases, "2")
    (releases / "2" / release.SIGNATURE).unlink()

    reported(refusal(releases))


@sabotage("tampered release", "an older, signed release under the number of a newer one", matrix.MANIFEST)
def test_a_release_under_another_number_is_refused(other: Model, releases: Path, reported: Reported) -> None:
    other.publish(releases, "2")
    release_pointer.set_live(releases, "2")
    proven(releases)

    for path in (releases / "1").iterdir():
        shutil.copy(path, releases / "2" / path.name)
    pointer = release_pointer.require_pointer(releases)
    digest = files.digest(releases / "2" / release.MANIFEST)
    moved = pointer.model_copy(update={"manifest_sha256": digest})
    (releases / release_pointer.POINTER).write_text(moved.model_dump_json())

    reported(refusal(releases))


@sabotage("changed feature order", "a release of code whose features are sorted by name", matrix.MANIFEST)
def test_a_release_of_other_features_is_refused(releases: Path, reported: Reported) -> None:
    proven(releases)

    path = releases / "1" / release.MANIFEST
    manifest = release.verify(releases / "1")
    path.write_text(manifest.model_copy(update={"features": tuple(sorted(manifest.features))}).model_dump_json())
    release.write_signature(releases / "1")

    with pytest.raises(ReleaseRefused) as refused:
        release.verify(releases / "1")
    reported(refused.value)


@sabotage("wrong ONNX conversion", "an ONNX file of a model other than the evaluated one", matrix.PARITY)
def test_a_wrong_conversion_is_refused(winter: Model, other: Model, reported: Reported) -> None:
    tolerance = winter.params.gate.parity_tolerance
    packaging.refuse_disparity(winter.best, tolerance)

    with pytest.raises(ReleaseRefused) as refused:
        packaging.refuse_disparity(winter.best._replace(onnx=other.best.onnx), tolerance)

    reported(str(refused.value).split(" by ")[0])


@sabotage(
    "online feature skew", "code that counts weekdays from Sunday, under a model trained from Monday", matrix.PROBES
)
def test_other_code_than_in_training_does_not_give_the_probes(
    releases: Path, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    honest = times.weekday
    proven(releases)

    def from_sunday(shown: Moments) -> NDArray[np.float64]:
        return (honest(shown) + 1) % 7

    monkeypatch.setattr(schedule, "weekday", from_sunday)

    message = str(refusal(releases))
    reported(message.split(" gets ")[0] + " gets another probability than when it was published")


@sabotage("tampered outputs", "a trained model that is not the one of the committed dvc.lock", matrix.REPRODUCTION)
def test_another_output_than_the_committed_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reported: Reported
) -> None:
    text = (PARAMS_YAML.parent / lineage.LOCK).read_text()
    monkeypatch.chdir(tmp_path)
    lineage.LOCK.write_text(text)
    for words in (["init"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "-m", "t"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    outputs = lineage.outputs(text)
    assert "dvc.lock" in lineage.reproduction(outputs)

    reported(lineage.reproduction({**outputs, "models": "another"}))
