"""Samples for a diagnosis: labelled entities from the prediction log, or from the reference data of a release."""

from collections.abc import Mapping, Sequence

import pandas as pd

from monitoring import performance
from monitoring.decomposition import LabelledSample
from ontime import release, schema, slices
from ontime.encoding import encode
from ontime.release import Manifest
from ontime.settings import Settings


def from_predictions(rows: pd.DataFrame, manifest: Manifest) -> LabelledSample:
    """The labelled entities that this release predicted and was not trained on.

    `rows` as returned by `performance.predictions_with_outcomes`, with vectors.
    """
    labelled = rows[(rows["model_version"] == manifest.version) & rows["label"].notna()]
    unseen = performance.out_of_sample(labelled, {manifest.version: manifest.trained_until})
    dimensions = _dimensions(performance.with_slice_features(unseen, {manifest.version: manifest.categories}))
    return LabelledSample(
        performance.vectors_of(unseen), unseen["label"].to_numpy(bool), unseen["day"].to_numpy(), dimensions
    )


def read_reference(settings: Settings, manifest: Manifest) -> pd.DataFrame:
    """The test entities of a release, with its predictions. `release.verify` has checked the digest of the file."""
    return pd.read_parquet(settings.releases / manifest.version / release.REFERENCE)


def from_reference(reference: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> LabelledSample:
    """The test entities of a release."""
    matrix = encode({name: reference[name].to_numpy() for name in schema.FEATURE_NAMES}, categories)
    return LabelledSample(
        matrix, reference["label"].to_numpy(bool), reference["day"].to_numpy(), _dimensions(reference)
    )


def _dimensions(rows: pd.DataFrame) -> pd.DataFrame:
    """All dimensions but the month, of which two periods have no value in common."""
    return slices.of_entities(rows).drop(columns="month").reset_index(drop=True)
