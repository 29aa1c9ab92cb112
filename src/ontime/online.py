"""A request as the model's input: what the timetable tells, computed as in training, beside what was materialised.

Training builds the same columns from tables (features.py, model.py); a release carries probes that hold both to it.
"""

from collections.abc import Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ontime import explain, schedule, schema
from ontime.release import PROBE, Probe, Release, ReleaseRefused
from ontime.schema import Flight

NEW_YORK = ZoneInfo(schema.CLOCK)
NOTHING_KNOWN = np.full(len(schema.MATERIALISED), np.nan, dtype=np.float32)
EXPLAINED_PROBES = 4  # reasons take milliseconds each, and this is done before every start
PROBE_TOLERANCE = 1e-5  # between the processors of training and of serving


def _wall(moments: Sequence[datetime]) -> NDArray[np.datetime64]:
    return np.array([moment.astimezone(NEW_YORK).replace(tzinfo=None) for moment in moments], "datetime64[m]")


def matrix_of(
    flights: Sequence[Flight], stored: Sequence[NDArray[np.float32]], release: Release
) -> NDArray[np.float32]:
    """float32 [flights, features]; `stored` has the online store's vector of each, or NOTHING_KNOWN."""
    columns: dict[str, object] = {name: [getattr(flight, name) for flight in flights] for name in schema.CATEGORICAL}
    columns |= schedule.schedule_features(
        _wall([flight.scheduled_departure for flight in flights]),
        _wall([flight.scheduled_arrival for flight in flights]),
        np.array([flight.elapsed_minutes for flight in flights]),
        np.array([flight.distance_miles for flight in flights], dtype=np.float64),
    )
    columns |= dict(zip(schema.MATERIALISED, np.stack(stored).T, strict=True))
    return schedule.encode(columns, release.manifest.categories)  # type: ignore[arg-type]  # text and numbers side by side


def rows_of(probes: Sequence[Probe], release: Release) -> NDArray[np.float32]:
    """The model's input for the flights that its release was measured with when it was published."""
    return matrix_of([probe.flight for probe in probes], [_vector(each) for each in probes], release)


def prove(release: Release) -> None:
    """Ask the release for its probes, through the code that will serve. Raises ReleaseRefused, naming the flight.

    This finds what no digest can: a model that is whole, but was made for other features than this code computes.
    """
    version = release.manifest.version
    if not release.probes:
        raise ReleaseRefused(f"release {version}: {PROBE} holds no flight")
    matrix = rows_of(release.probes, release)
    told_of = zip(release.probes, matrix, release.model.predict(matrix).tolist(), strict=True)
    for place, (probe, row, told) in enumerate(told_of):
        if not abs(told - probe.probability_late) <= PROBE_TOLERANCE:
            raise ReleaseRefused(
                f"release {version}: {probe.flight.id} gets {told:.6f}, not {probe.probability_late:.6f}"
            )
        if release.explainer is not None and place < EXPLAINED_PROBES:
            summed = explain.explain(release.explainer, row).probability
            if not abs(summed - told) <= PROBE_TOLERANCE:
                raise ReleaseRefused(
                    f"release {version}: the reasons of {probe.flight.id} add up to {summed:.6f}, not {told:.6f}"
                )


def _vector(probe: Probe) -> NDArray[np.float32]:
    if probe.materialised is None:
        return NOTHING_KNOWN
    return np.array([np.nan if value is None else value for value in probe.materialised], dtype=np.float32)
