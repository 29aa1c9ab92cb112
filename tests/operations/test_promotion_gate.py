"""The gate compares with a release of earlier code, so that a feature is judged like any other change."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ontime import database, export, model, release, release_pointer, schema, split
from ontime.params import Params
from ontime.release import ReleaseRefused
from pipelines.operations import promotion_gate
from pipelines.operations.packaging import BestModel
from tests.small_world import STORED_FROM, Small

ADDED = "record_28d_delay"
EARLIER = tuple(name for name in schema.FEATURE_NAMES if name != ADDED)


@pytest.fixture
def judged(weeks: pd.DataFrame) -> pd.DataFrame:
    labelled = split.labelled(weeks)
    return labelled[labelled["day"] >= STORED_FROM].reset_index(drop=True)


@pytest.fixture
def earlier_model(weeks: pd.DataFrame, small: Small, params: Params) -> model.Classifier:
    """LightGBM without the feature that was added since."""
    labelled = split.labelled(weeks)
    before = labelled[labelled["day"] < STORED_FROM]
    few = params.train.changed("lightgbm", n_estimators=10)
    return model.fit("lightgbm", narrow(before, small), before["label"].to_numpy(), few)


@pytest.fixture
def earlier_file(earlier_model: model.Classifier, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """The model as earlier code exported it."""
    with monkeypatch.context() as earlier:
        earlier.setattr(schema, "FEATURE_NAMES", EARLIER)
        return export.to_onnx("lightgbm", earlier_model)


def narrow(entities: pd.DataFrame, small: Small) -> model.Matrix:
    positions = [schema.FEATURE_NAMES.index(name) for name in EARLIER]
    return model.matrix_of(entities, small.categories)[:, positions]


def publish_earlier(releases: Path, small: Small, features: tuple[str, ...], model_file: bytes) -> None:
    """Release 1 is live, as earlier code published it: this code would refuse to."""
    contents = {**small.contents, release.MODEL: model_file}
    digests = {name: sha256(content).hexdigest() for name, content in contents.items()}
    manifest = small.manifest("1").model_copy(update={"features": features, "sha256": digests})
    folder = releases / "1"
    folder.mkdir(parents=True)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / release.MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n")
    release.write_signature(folder)
    digest = sha256((folder / release.MANIFEST).read_bytes()).hexdigest()
    pointer = release_pointer.Pointer(version="1", manifest_sha256=digest)
    (releases / release_pointer.POINTER).write_text(pointer.model_dump_json())


def rivals(releases: Path, judged: pd.DataFrame, params: Params, tmp_path: Path) -> promotion_gate.Rivals:
    challenger = BestModel._make([None] * len(BestModel._fields))._replace(name="lightgbm", entities=judged)
    engine = database.connect(f"sqlite:///{tmp_path}/ontime.db")
    return promotion_gate.rivals_of(challenger, releases, engine, params)


def test_a_release_without_the_added_feature_is_the_rival_on_the_same_entities(
    tmp_path: Path,
    small: Small,
    earlier_model: model.Classifier,
    earlier_file: bytes,
    judged: pd.DataFrame,
    params: Params,
) -> None:
    publish_earlier(tmp_path / "releases", small, EARLIER, earlier_file)

    champion = rivals(tmp_path / "releases", judged, params, tmp_path).champion

    expected = model.predict(earlier_model, narrow(judged, small))
    assert champion.name == "release 1"
    np.testing.assert_allclose(champion.probabilities, expected, atol=params.gate.parity_tolerance)


def test_a_release_whose_feature_was_removed_cannot_be_compared_with(
    tmp_path: Path, small: Small, earlier_file: bytes, judged: pd.DataFrame, params: Params
) -> None:
    publish_earlier(tmp_path / "releases", small, (*EARLIER[:-1], "runway"), earlier_file)

    with pytest.raises(ReleaseRefused, match=r"has features that this code does not compute, runway, so the gate"):
        rivals(tmp_path / "releases", judged, params, tmp_path)


def test_a_release_of_earlier_code_is_not_served(tmp_path: Path, small: Small, earlier_file: bytes) -> None:
    publish_earlier(tmp_path / "releases", small, EARLIER, earlier_file)

    with pytest.raises(ReleaseRefused, match=rf"not this code's: \['{ADDED}'\]. `make train` makes a release of this"):
        release_pointer.load_live(tmp_path / "releases")
