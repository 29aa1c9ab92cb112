"""The flights of a period, as a diagnosis needs them: from the prediction log, or from a release's reference."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from monitoring import performance
from monitoring.changes import Period
from ontime import schedule, schema, slices
from ontime.release import Manifest


def vectors_of(rows: pd.DataFrame) -> NDArray[np.float32]:
    """The model's inputs, shape (n, features)."""
    stored = b"".join(rows["vector"]) if len(rows) else b""
    return np.frombuffer(stored, "<f4").reshape(len(rows), len(schema.FEATURE_NAMES))


def of_answers(rows: pd.DataFrame, manifest: Manifest) -> Period:
    """What this release answered of flights that it was not trained on and whose outcome is known.

    `rows` as `performance.answers` has them, with vectors.
    """
    own = rows[(rows["model_version"] == manifest.version) & rows["late"].notna()]
    known = performance.unseen_by_their_model(own, {manifest.version: manifest.trained_until})
    return Period(vectors_of(known), known["late"].to_numpy(bool), known["day"].to_numpy(), _cuts(known))


def of_reference(reference: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> Period:
    """The flights that a release was measured on. They are in order of time, so a new weekday is a new day."""
    number = (reference["weekday"].diff().fillna(0) != 0).cumsum()
    days = pd.Timestamp(0) + pd.to_timedelta(number, unit="D")
    matrix = schedule.encode({name: reference[name].to_numpy() for name in schema.FEATURE_NAMES}, categories)
    return Period(matrix, reference["late"].to_numpy(bool), days.to_numpy(), _cuts(reference.assign(day=days)))


def _cuts(rows: pd.DataFrame) -> pd.DataFrame:
    """Without the month, in which two periods have nothing in common."""
    return slices.of_flights(rows).drop(columns="month").reset_index(drop=True)
