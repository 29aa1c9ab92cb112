"""A file that is not a model is refused with its reason, and a model that never ends is stopped."""

import os
import time
from pathlib import Path

import pytest

from ontime import files, release, release_check
from ontime.release import MANIFEST, ReleaseRefused
from tests import hostile_models
from tests.library.test_release import publish_changed
from tests.small_world import Small

pytestmark = pytest.mark.slow


def check(releases: Path, timeout_seconds: float = release_check.TIMEOUT_SECONDS) -> None:
    digest = files.digest(releases / "9" / MANIFEST)
    release_check.check_in_child(releases, "9", digest, timeout_seconds=timeout_seconds)


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (hostile_models.two_inputs, "takes 2 inputs, not 1"),
        (hostile_models.strings, r"returns tensor\(string\), not tensor\(float\)"),
    ],
)
def test_a_model_of_another_shape_is_not_published(
    model: hostile_models.MakeModel, reason: str, small: Small, tmp_path: Path
) -> None:
    with pytest.raises(ReleaseRefused, match=reason):
        publish_changed(small, tmp_path, model_onnx=model())


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (hostile_models.one_dimension, r"returns \[20\] for 20 rows, not \[n, 2\]"),
        (hostile_models.fails_to_run, r"fails to predict: .* Gather node"),
        (hostile_models.large_constant, "Failed to allocate memory"),
    ],
)
def test_a_model_that_cannot_predict_is_refused_with_the_reason(
    model: hostile_models.MakeModel, reason: str, small: Small, tmp_path: Path
) -> None:
    publish_changed(small, tmp_path, model_onnx=model())

    with pytest.raises(ReleaseRefused, match=reason):
        check(tmp_path)


def test_a_model_that_never_ends_is_stopped(small: Small, tmp_path: Path) -> None:
    publish_changed(small, tmp_path, model_onnx=hostile_models.never_ends())

    with pytest.raises(ReleaseRefused, match="release 9: not loaded and probed within 5 s"):
        check(tmp_path, timeout_seconds=5)


def test_a_check_ends_when_it_is_cancelled(small: Small, tmp_path: Path) -> None:
    publish_changed(small, tmp_path, model_onnx=hostile_models.never_ends())
    until = time.monotonic() + 2

    with pytest.raises(ReleaseRefused, match="because this process stops"):
        release_check.check_in_child(
            tmp_path, "9", files.digest(tmp_path / "9" / MANIFEST), is_cancelled=lambda: time.monotonic() > until
        )


def test_a_whole_release_passes(small: Small, tmp_path: Path) -> None:
    publish_changed(small, tmp_path)

    check(tmp_path)


@pytest.mark.parametrize("name", [MANIFEST, release.MODEL, release.SIGNATURE])
def test_a_fifo_in_a_release_is_refused(name: str, small: Small, tmp_path: Path) -> None:
    publish_changed(small, tmp_path)
    (tmp_path / "9" / name).unlink()
    os.mkfifo(tmp_path / "9" / name)

    with pytest.raises(ReleaseRefused, match="is not a regular file"):
        release.verify(tmp_path / "9")


def test_a_symbolic_link_in_a_release_is_refused(small: Small, tmp_path: Path) -> None:
    publish_changed(small, tmp_path)
    model = tmp_path / "9" / release.MODEL
    model.rename(tmp_path / "elsewhere.onnx")
    model.symlink_to(tmp_path / "elsewhere.onnx")

    with pytest.raises(ReleaseRefused, match=r"model\.onnx: Too many levels of symbolic links"):
        release.verify(tmp_path / "9")


def test_a_file_that_is_too_large_is_refused_without_being_read(small: Small, tmp_path: Path) -> None:
    publish_changed(small, tmp_path)
    with (tmp_path / "9" / release.MODEL).open("ab") as file:
        file.truncate(release.MAX_FILE_BYTES + 1)  # sparse

    with pytest.raises(ReleaseRefused, match="the limit is 536,870,912"):
        release.verify(tmp_path / "9")
