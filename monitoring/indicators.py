"""Figures of a day and its window, computed from tables; None where there is nothing to compute one from.

Rules in params.yaml name them. monitoring/day_figures.py reads the tables.
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

Figures = dict[str, float | None]
BLIND, SEEING = 0.99, 0.5  # shares of missing values: what is rarely known may be missing for a whole day


def of_answers(rows: pd.DataFrame, reference: pd.DataFrame, categories: pd.DataFrame) -> Figures:
    """Of a day's answers, as `performance.answers` has them with vectors, before any outcome is known.

    `reference`: the entities that the release was measured on. `categories`: of the rows, from `categories_of`.
    """
    return {
        "stale_feed_share": _stale_feed_share(rows),
        "blind_features": _blind_features(rows, reference),
        "request_only_share": _share(rows["features"] == "request") if schema.ONLINE else None,
        "unseen_share": _share(_has_unseen_category(rows, categories)),
    }


def unlabelled_share(settled: pd.DataFrame) -> float | None:
    """Of a day whose outcomes should all have come."""
    return _share(settled["label"].isna())


def of_performance(told: Performance) -> Figures:
    """Of the window's entities that have an outcome, whichever release answered them."""
    if told.scores is None or told.positive_rate is None or told.predicted_rate is None:
        return dict.fromkeys(alerts.OF_PERFORMANCE)
    return {
        "auc": told.scores["auc"],
        "log_loss": told.scores["log_loss"],
        "loss_excess": told.loss_excess,
        "auc_shortfall": told.auc_shortfall,
        "rate_gap": round(abs(told.positive_rate - told.predicted_rate), 4),
    }


def of_drift(told: Mapping[str, Any] | None) -> Figures:
    """From `drift.Reports.figures`."""
    if told is None:
        return {"prediction_psi": None, "feature_psi": None}
    features: Mapping[str, float] = told["features"]
    return {
        "prediction_psi": round(told["prediction"], 4),
        "feature_psi": round(max(features.values()), 4),
        **{f"psi {name}": round(value, 4) for name, value in features.items()},
    }


def decoded(rows: pd.DataFrame, categories: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """The vectors of `rows` as a reference is kept: features by name, categories as text, answer, outcome."""
    table = pd.DataFrame(
        performance.vectors_of(rows).astype(np.float64), columns=list(schema.FEATURE_NAMES), index=rows.index
    )
    for name, values in categories.items():
        table[name] = table[name].map(dict(enumerate(values))).astype("str")
    return table.assign(probability=rows["probability"], label=rows["label"])


def _share(hits: pd.Series) -> float | None:
    return round(float(hits.mean()), 4) if len(hits) else None


def categories_of(rows: pd.DataFrame, texts: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """The categorical features of each row as text, null where it has none; `rows` as `performance.answers` has them.

    The vectors cannot tell: a category that is missing and one that the model was never shown are both NaN.
    `texts`: what the online store has of each entity.
    """
    if rows.empty:
        return pd.DataFrame(columns=list(schema.CATEGORICAL))
    times = [name for name, kind in FIELDS.items() if kind is datetime]
    moments = {name: pd.to_datetime(rows[name], utc=True, cache=False) for name in times}
    requested = PROBLEM.request_features(features.fields_of(rows.assign(**moments)))
    known = [
        texts.get(each, {}) if source == "online" else {}
        for each, source in zip(rows["entity_id"], rows["features"], strict=True)
    ]
    columns = {
        name: [each.get(name) for each in known] if name in schema.ONLINE_TEXTS else requested[name]
        for name in schema.CATEGORICAL
    }
    return pd.DataFrame(columns, index=rows.index)


def _has_unseen_category(rows: pd.DataFrame, categories: pd.DataFrame) -> pd.Series:
    """Entities with a category that their model was never shown."""
    positions = [schema.FEATURE_NAMES.index(name) for name in schema.CATEGORICAL]
    uncoded = np.isnan(performance.vectors_of(rows)[:, positions])
    return pd.Series((uncoded & categories[list(schema.CATEGORICAL)].notna().to_numpy()).any(axis=1))


def _online(rows: pd.DataFrame) -> pd.DataFrame:
    """The features of those rows that had any."""
    known = rows[rows["features"] == "online"]
    return pd.DataFrame(performance.vectors_of(known), columns=list(schema.FEATURE_NAMES))


def _stale_feed_share(rows: pd.DataFrame) -> float | None:
    """The share answered by a feed that shows no sign of life: of all declared signs the largest."""
    known = _online(rows)
    shares = (_share(pd.Series(~sign.alive(known[sign.feature].to_numpy()))) for sign in PROBLEM.signs_of_life)
    return max((share for share in shares if share is not None), default=None)


def _blind_features(rows: pd.DataFrame, reference: pd.DataFrame) -> float | None:
    """How many features have a value for nearly no entity today, and had one for most when the model was measured."""
    known = _online(rows)
    if known.empty:
        return None
    names = list(schema.ONLINE)
    return float(((known[names].isna().mean() > BLIND) & (reference[names].isna().mean() < SEEING)).sum())
