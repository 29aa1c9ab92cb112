"""A request as the model's input: what it tells itself, computed as in training, beside what the online store has.

Training builds the same columns from tables (features.py, model.py); a release carries probes that hold both to it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ontime import explain, schema
from ontime.database import OnlineRow
from ontime.declaration import Columns, EntityRequest, arrays_of, kind_of
from ontime.encoding import encode
from ontime.problem import PROBLEM
from ontime.release import PROBE, Probe, Release, ReleaseRefused

EXPLAINED_PROBES = 4  # reasons take milliseconds each, and this is done before every start
PROBE_TOLERANCE = 1e-5  # between the processors of training and of serving
FIELDS = {name: kind_of(each.annotation) for name, each in PROBLEM.request.model_fields.items()}


NOTHING_KNOWN = OnlineRow(np.full(len(schema.ONLINE), np.nan, dtype=np.float32), {})


def fields_of(entities: Sequence[EntityRequest]) -> Columns:
    """The fields of requests as arrays, as `PROBLEM.request_features` takes them; times in UTC."""
    return arrays_of(entities, FIELDS)


def matrix_of(entities: Sequence[EntityRequest], stored: Sequence[OnlineRow], release: Release) -> NDArray[np.float32]:
    """float32 [entities, features]; `stored` has what is known of each, or NOTHING_KNOWN."""
    columns = dict(PROBLEM.request_features(fields_of(entities)))
    columns |= dict(zip(schema.ONLINE, np.stack([row.vector for row in stored]).T, strict=True))
    columns |= {name: np.array([row.texts.get(name) for row in stored], object) for name in schema.ONLINE_TEXTS}
    return encode(columns, release.manifest.categories)


def categories_told(entity: EntityRequest, known: OnlineRow) -> set[str]:
    """The categorical features that this entity has a value for, whether or not a model has seen it."""
    columns = PROBLEM.request_features(fields_of([entity]))
    requested = {name for name in schema.REQUEST if name in schema.CATEGORICAL and isinstance(columns[name][0], str)}
    return requested | known.texts.keys()


def rows_of(probes: Sequence[Probe], release: Release) -> NDArray[np.float32]:
    """The model's input for the entities that its release was measured with when it was published."""
    return matrix_of([probe.entity for probe in probes], [_online(each) for each in probes], release)


def prove(release: Release) -> None:
    """Ask the release for its probes, through the code that will serve. Raises ReleaseRefused, naming the entity.

    This finds what no digest can: a model that is whole, but was made for other features than this code computes.
    """
    version = release.manifest.version
    if not release.probes:
        raise ReleaseRefused(f"release {version}: {PROBE} holds no entity")
    matrix = rows_of(release.probes, release)
    told_of = zip(release.probes, matrix, release.model.predict(matrix).tolist(), strict=True)
    for place, (probe, row, told) in enumerate(told_of):
        if not abs(told - probe.probability) <= PROBE_TOLERANCE:
            raise ReleaseRefused(
                f"release {version}: {probe.entity.entity_id} gets {told:.6f}, not {probe.probability:.6f}"
            )
        if release.explainer is not None and place < EXPLAINED_PROBES:
            summed = explain.explain(release.explainer, row).probability
            if not abs(summed - told) <= PROBE_TOLERANCE:
                raise ReleaseRefused(
                    f"release {version}: the reasons of {probe.entity.entity_id} add up to {summed:.6f}, not {told:.6f}"
                )


def _online(probe: Probe) -> OnlineRow:
    if probe.online is None:
        return NOTHING_KNOWN
    values = [np.nan if value is None else value for value in probe.online]
    return OnlineRow(np.array(values, dtype=np.float32), probe.texts)
