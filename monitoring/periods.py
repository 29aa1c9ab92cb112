"""The entities of a period, as a diagnosis needs them: from the prediction log, or from a release's reference."""

from collections.abc import Mapping, Sequence

import pandas as pd

from monitoring import performance
from monitoring.changes import Period
from ontime import release, schema, slices
from ontime.encoding import encode
from ontime.release import Manifest
from ontime.settings import Settings


def of_answers(rows: pd.DataFrame, manifest: Manifest) -> Period:
    """What this release answered of entities that it was not trained on and whose outcome is known.

    `rows` as `performance.answers` has them, with vectors.
    """
    own = rows[(rows["model_version"] == manifest.version) & rows["label"].notna()]
    known = performance.unseen_by_their_model(own, {manifest.version: manifest.trained_until})
    cuts = _cuts(performance.with_slice_features(known, {manifest.version: manifest.categories}))
    return Period(performance.vectors_of(known), known["label"].to_numpy(bool), known["day"].to_numpy(), cuts)


def reference_of(settings: Settings, manifest: Manifest) -> pd.DataFrame:
    """The entities that a release was measured on, with its answers. Its digest was checked by `release.verify`."""
    return pd.read_parquet(settings.releases / manifest.version / release.REFERENCE)


def of_reference(reference: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> Period:
    """The entities that a release was measured on."""
    matrix = encode({name: reference[name].to_numpy() for name in schema.FEATURE_NAMES}, categories)
    return Period(matrix, reference["label"].to_numpy(bool), reference["day"].to_numpy(), _cuts(reference))


def _cuts(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the month, in which two periods have nothing in common."""
    return slices.of_entities(rows).drop(columns="month").reset_index(drop=True)
