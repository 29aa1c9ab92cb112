"""What late events would have changed: the features of predictions that are made, with and without them.

A late event is kept, and later predictions use it; those that were made before it came stay as they are. The decisions
of kind `late events` say how many of them would have been different, which the monitor shows as `late_share`.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import sqlalchemy as sa

from ontime import database, features, model, online_store, schema
from ontime.datasets import KEY, Tables
from ontime.online import OnlineRow
from ontime.params import Params
from ontime.release import Release
from ontime.schema import WORDS


def record(
    engine: sa.Engine, tables: Tables, events: int, since: datetime, until: datetime, champion: Release, params: Params
) -> None:
    """Compare the predictions with a moment in [since, until) with those from `tables`, and record the difference."""
    lead = timedelta(minutes=params.features.lead_minutes)
    built = features.build(tables, since + lead, until + lead, params.features, params.question)
    stored = online_store.look_up_features(engine, params.question, built[KEY])
    built = built[built[KEY].isin(list(stored))].reset_index(drop=True)
    if built.empty:
        return
    before = _with_stored(built, [stored[each].online for each in built[KEY]])
    matrices = [model.matrix_of(each, champion.manifest.categories) for each in (built, before)]
    with_late, without = (champion.model.predict(matrix) for matrix in matrices)
    changed = ~(np.equal(*matrices) | (np.isnan(matrices[0]) & np.isnan(matrices[1]))).all(axis=1)
    threshold = champion.manifest.threshold
    flipped = (with_late >= threshold) != (without >= threshold)
    share = round(float(changed.mean()), 4)
    evidence = {
        "events": events,
        "entities": len(built),
        "changed": int(changed.sum()),
        "share": share,
        "mean_change": round(float(np.abs(with_late - without)[changed].mean()), 5) if changed.any() else 0.0,
        "flipped": int(flipped.sum()),
        "reason": f"{events:,} late events would have changed {changed.sum():,} of {len(built):,} predictions of "
        f"{WORDS.entities}, and {flipped.sum():,} alerts",
    }
    database.record_decision(engine, "late events", "measured", evidence, until)


def _with_stored(built: pd.DataFrame, rows: Sequence[OnlineRow]) -> pd.DataFrame:
    """The rows with the online features that their predictions were made from."""
    vectors = np.stack([row.vector for row in rows])
    numbers = {
        name: vectors[:, place].astype(np.float64)
        for place, name in enumerate(schema.ONLINE)
        if name not in schema.ONLINE_TEXTS
    }
    texts = {name: np.array([row.texts.get(name) for row in rows], object) for name in schema.ONLINE_TEXTS}
    return built.assign(**numbers, **texts)
