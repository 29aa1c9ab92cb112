"""Encodes all features as the model's input, in training and in the service."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ontime import schema

Floats = NDArray[np.floating[Any]]
PLACES = {name: place for place, name in enumerate(schema.FEATURE_NAMES)}


def encode(
    columns: Mapping[str, Sequence[str] | Floats], categories: Mapping[str, Sequence[str]]
) -> NDArray[np.float32]:
    """Columns in the order of the model: float32, n x features. A missing or unseen category is NaN."""
    matrix = np.empty((len(columns[schema.FEATURE_NAMES[0]]), len(schema.FEATURE_NAMES)), dtype=np.float32)
    encode_into(matrix, schema.FEATURE_NAMES, columns, categories)
    return matrix


def encode_into(
    matrix: NDArray[np.float32],
    names: Sequence[str],
    columns: Mapping[str, Sequence[str] | Floats],
    categories: Mapping[str, Sequence[str]],
) -> None:
    """Write the columns with these names into the matrix of `encode`."""
    for name in names:
        values = columns[name]
        if name in categories:
            codes = _codes(tuple(categories[name]))
            values = np.array([codes.get(value, np.nan) for value in values])
        matrix[:, PLACES[name]] = values


@lru_cache(maxsize=64)  # of a few releases: the service encodes a row at a time
def _codes(categories: tuple[str, ...]) -> Mapping[str, int]:
    return {category: code for code, category in enumerate(categories)}
