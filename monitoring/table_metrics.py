"""Metrics of a day and its window, computed from tables; None if there are too few rows to compute a metric from.

Alert rules in params.yaml refer to them by name. monitoring/daily_metrics.py reads the tables.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd

from monitoring import alerts, performance
from monitoring.performance import Performance
from ontime import features, schema
from ontime.online import FIELDS
from ontime.problem import PROBLEM

# Shares of missing values. A feature that is often missing in the reference may be missing for a whole day.
BLIND_SHARE, MAX_REFERENCE_SHARE = 0.99, 0.5
# Of fewer entities, a share says little: one without some features would be a page.
MIN_ENTITIES = 20


def prediction_metrics(
    rows: pd.DataFrame, reference: pd.DataFrame, categories: pd.DataFrame, accepted: Sequence[str] = ()
) -> dict[str, float | None]:
    """Metrics of a day's predictions that need no outcome. `rows`: `predictions_with_outcomes`, with vectors.

    `reference`: the test entities of the release. `categories`: of the rows, from `categorical_features`.
    `accepted`: features that may be missing for all rows, from `Dataset.blind_features`.
    """
    return {
        "stale_feed_share": _stale_feed_share(rows),
        "blind_features": _blind_features(rows, reference, accepted),
        "request_only_share": _share(rows["features"] == "request") if schema.ONLINE else None,
        "unseen_share": _share(_has_unseen_category(rows, categories)),
    }


def unlabelled_share(settled: pd.DataFrame) -> float | None:
    """The share without outcome on a day whose outcomes should all have arrived."""
    return _share(settled["label"].isna())


def performance_metrics(measured: Performance) -> dict[str, float | None]:
    """Metrics of the labelled entities of the window, of all releases together."""
    if measured.scores is None or measured.positive_rate is None or measured.predicted_rate is None:
        return dict.fromkeys(alerts.PERFORMANCE_ALERTS)
    return {
        "auc": measured.scores["auc"],
        "log_loss": measured.scores["log_loss"],
        "loss_excess": measured.loss_excess,
        "auc_shortfall": measured.auc_shortfall,
        "rate_gap": round(abs(measured.positive_rate - measured.predicted_rate), 4),
    }


def drift_metrics(drift: Mapping[str, Any] | None) -> dict[str, float | None]:
    """Metrics from `drift.Reports.values`.

    >>> drift_metrics({"prediction": 0.08, "features": {"temp_f": 0.31, "dest": 0.02}})
    {'prediction_psi': 0.08, 'feature_psi': 0.31, 'psi temp_f': 0.31, 'psi dest': 0.02}
    """
    if drift is None:
        return {"prediction_psi": None, "feature_psi": None}
    features: Mapping[str, float] = drift["features"]
    return {
        "prediction_psi": round(drift["prediction"], 4),
        "feature_psi": round(max(features.values()), 4),
        **{f"psi {name}": round(value, 4) for name, value in features.items()},
    }


def decoded(rows: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The vectors of `rows` in the form of a reference: features by name, categories as text, probability, label."""
    table = pd.DataFrame(
        performance.vectors_of(rows).astype(np.float64), columns=list(schema.FEATURE_NAMES), index=rows.index
    )
    for name, values in categories.items():
        table[name] = table[name].map(dict(enumerate(values))).astype("str")
    return table.assign(probability=rows["probability"], label=rows["label"])


def _share(hits: pd.Series) -> float | None:
    return round(float(hits.mean()), 4) if len(hits) >= MIN_ENTITIES else None


def categorical_features(rows: pd.DataFrame, texts: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """The categorical features of each row as text, null if missing. `rows`: `predictions_with_outcomes`.

    The vectors do not suffice: a missing category and one that the model was not trained on are both NaN.
    `texts`: the categorical features of each entity in the online store.
    """
    if rows.empty:
        return pd.DataFrame(columns=list(schema.CATEGORICAL))
    times = [name for name, kind in FIELDS.items() if kind is datetime]
    moments = {name: pd.to_datetime(rows[name], utc=True, cache=False) for name in times}
    requested = PROBLEM.request_features(features.fields_of(rows.assign(**moments)))
    stored = [
        texts.get(each, {}) if source == "online" else {}
        for each, source in zip(rows["entity_id"], rows["features"], strict=True)
    ]
    columns = {
        name: [each.get(name) for each in stored] if name in schema.ONLINE_TEXTS else requested[name]
        for name in schema.CATEGORICAL
    }
    return pd.DataFrame(columns, index=rows.index)


def _has_unseen_category(rows: pd.DataFrame, categories: pd.DataFrame) -> pd.Series:
    """Entities with a category that their model was not trained on."""
    positions = [schema.FEATURE_NAMES.index(name) for name in schema.CATEGORICAL]
    uncoded = np.isnan(performance.vectors_of(rows)[:, positions])
    return pd.Series((uncoded & categories[list(schema.CATEGORICAL)].notna().to_numpy()).any(axis=1))


def _online(rows: pd.DataFrame) -> pd.DataFrame:
    """The features of the rows that were found in the online store."""
    online = rows[rows["features"] == "online"]
    return pd.DataFrame(performance.vectors_of(online), columns=list(schema.FEATURE_NAMES))


def _stale_feed_share(rows: pd.DataFrame) -> float | None:
    """The share of rows whose features show a stale feed: the largest of all declared freshness checks."""
    online = _online(rows)
    shares = (
        _share(pd.Series(~check.is_fresh(online[check.feature].to_numpy()))) for check in PROBLEM.freshness_checks
    )
    return max((share for share in shares if share is not None), default=None)


def _blind_features(rows: pd.DataFrame, reference: pd.DataFrame, accepted: Sequence[str]) -> float | None:
    """The number of features that are missing for nearly all entities today, but not in most of the reference."""
    online = _online(rows)
    if len(online) < MIN_ENTITIES:
        return None
    names = [name for name in schema.ONLINE if name not in accepted]
    return float(
        ((online[names].isna().mean() > BLIND_SHARE) & (reference[names].isna().mean() < MAX_REFERENCE_SHARE)).sum()
    )
