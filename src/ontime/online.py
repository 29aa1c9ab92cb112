"""The model's input for requests: features computed from the request, and features from the online store.

Training builds the same columns from tables (features.py, model.py). The probes of a release check that both agree.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ontime import explain, schema
from ontime.declaration import Columns, EntityRequest
from ontime.encoding import PLACES, encode_into
from ontime.problem import PROBLEM
from ontime.release import PROBE, Probe, Release, ReleaseRefused
from ontime.request_fields import arrays_of, kind_of

EXPLAINED_PROBES = 4  # an explanation takes milliseconds, and every start waits for this
PROBE_TOLERANCE = 1e-5  # allows for different processors in training and serving
CATEGORIES = [(name, PLACES[name]) for name in schema.CATEGORICAL]
CATEGORY_PLACES = [place for _, place in CATEGORIES]
FLAGS_WITHOUT_ROW = ["request_only"] if schema.ONLINE else []
ONLINE_PLACES = [PLACES[name] for name in schema.ONLINE]
NOT_STACKED = (*schema.REQUEST, *schema.ONLINE_TEXTS)  # the columns that are not numbers of the online store
FIELDS = {name: kind_of(each.annotation) for name, each in PROBLEM.request.model_fields.items()}


class OnlineRow(NamedTuple):
    """The online features of an entity."""

    vector: NDArray[np.float32]  # schema.ONLINE in order; NaN if missing, and for categorical features
    texts: Mapping[str, str]  # the values of the categorical features


EMPTY_ROW = OnlineRow(np.full(len(schema.ONLINE), np.nan, dtype=np.float32), {})


def request_columns(entities: Sequence[EntityRequest]) -> Columns:
    """The fields of requests as arrays, as `PROBLEM.request_features` takes them; times in UTC."""
    return arrays_of(entities, FIELDS)


def request_matrix(
    entities: Sequence[EntityRequest], stored: Sequence[OnlineRow], release: Release
) -> NDArray[np.float32]:
    """float32 [entities, features]; `stored` has each entity's row of the online store, or EMPTY_ROW."""
    columns = dict(PROBLEM.request_features(request_columns(entities)))
    columns |= {name: np.array([row.texts.get(name) for row in stored], object) for name in schema.ONLINE_TEXTS}
    matrix = np.empty((len(entities), len(schema.FEATURE_NAMES)), np.float32)
    matrix[:, ONLINE_PLACES] = np.stack([row.vector for row in stored])
    encode_into(matrix, NOT_STACKED, columns, release.manifest.categories)
    return matrix


def categories_present(entity: EntityRequest, row: OnlineRow) -> set[str]:
    """The categorical features that have a value for this entity, whether or not the model was trained on the value."""
    columns = PROBLEM.request_features(request_columns([entity]))
    requested = {name for name in schema.REQUEST if name in schema.CATEGORICAL and isinstance(columns[name][0], str)}
    return requested | row.texts.keys()


def flags_of(entity: EntityRequest, row: OnlineRow | None, encoded: NDArray[np.float32]) -> list[str]:
    """What limits a prediction: `request_only`, and `unknown_category:<feature>`.

    `row`: None without a row in the online store. `encoded`: the model's input; a category is NaN in it if it is
    missing, or was not in the training data.
    """
    flags = [*FLAGS_WITHOUT_ROW] if row is None else []
    if not_encoded := [name for name, place in CATEGORIES if np.isnan(encoded[place])]:
        present = categories_present(entity, EMPTY_ROW if row is None else row)
        flags += [f"unknown_category:{name}" for name in not_encoded if name in present]
    return flags


def flags_of_all(
    entities: Sequence[EntityRequest], rows: Sequence[OnlineRow | None], matrix: NDArray[np.float32]
) -> list[list[str]]:
    """`flags_of` each entity. A category that is NaN, which is rare, is what takes time."""
    incomplete = np.isnan(matrix[:, CATEGORY_PLACES].sum(axis=1))  # one that is missing makes the sum so
    return [
        flags_of(entity, row, encoded) if is_incomplete else [*FLAGS_WITHOUT_ROW] if row is None else []
        for entity, row, encoded, is_incomplete in zip(entities, rows, matrix, incomplete.tolist(), strict=True)
    ]


def probe_matrix(probes: Sequence[Probe], release: Release) -> NDArray[np.float32]:
    """The model's input for the probes of a release."""
    return request_matrix([probe.entity for probe in probes], [_online(each) for each in probes], release)


def check_probes(release: Release) -> None:
    """Predict the probes with the serving code, and compare with the published probabilities. Raises ReleaseRefused.

    This detects what a digest cannot: an intact model that expects other features than this code computes.
    """
    version = release.manifest.version
    if not release.probes:
        raise ReleaseRefused(f"release {version}: {PROBE} holds no entity")
    matrix = probe_matrix(release.probes, release)
    predictions = zip(release.probes, matrix, release.model.predict(matrix).tolist(), strict=True)
    for number, (probe, row, probability) in enumerate(predictions):
        if not abs(probability - probe.probability) <= PROBE_TOLERANCE:
            raise ReleaseRefused(
                f"release {version}: {probe.entity.entity_id} gets {probability:.6f}, not {probe.probability:.6f}"
            )
        if release.explainer is not None and number < EXPLAINED_PROBES:
            summed = explain.explain(release.explainer, row).probability
            if not abs(summed - probability) <= PROBE_TOLERANCE:
                raise ReleaseRefused(
                    f"release {version}: the reasons of {probe.entity.entity_id} add up to {summed:.6f}, "
                    f"not {probability:.6f}"
                )


def _online(probe: Probe) -> OnlineRow:
    if probe.online is None:
        return EMPTY_ROW
    values = [np.nan if value is None else value for value in probe.online]
    return OnlineRow(np.array(values, dtype=np.float32), probe.texts)
