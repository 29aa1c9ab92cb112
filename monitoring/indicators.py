"""The figures that a day is judged by; rules in params.yaml name them. None where there is nothing to tell one from."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from monitoring import alerts, periods
from monitoring.performance import Performance
from ontime import schema

Figures = dict[str, float | None]
STALE_HOURS = 4  # an hour of weather may be missing, and then one more; in 2013 a day is
BLIND, SEEING = 0.99, 0.5  # shares of missing values: gusts are rare, and on a calm day nobody reports one


def of_answers(rows: pd.DataFrame, reference: pd.DataFrame) -> Figures:
    """Of a day's answers, as `performance.answers` has them with vectors, before any outcome is known.

    `reference`: the flights that the release was measured on.
    """
    return {
        "stale_feed_share": _stale_feed_share(rows),
        "blind_features": _blind_features(rows, reference),
        "schedule_only_share": _share(rows["features"] == "schedule_only"),
        "unseen_share": _share(_has_unseen_category(rows)),
    }


def unlabelled_share(settled: pd.DataFrame) -> float | None:
    """Of a day whose outcomes should all have come."""
    return _share(settled["late"].isna())


def of_performance(told: Performance) -> Figures:
    """Of the window's flights that have an outcome, whichever release answered them."""
    if told.scores is None or told.late_rate is None or told.predicted_rate is None:
        return dict.fromkeys(alerts.OF_PERFORMANCE)
    return {
        "auc": told.scores["auc"],
        "log_loss": told.scores["log_loss"],
        "loss_excess": told.loss_excess,
        "auc_shortfall": told.auc_shortfall,
        "rate_gap": round(abs(told.late_rate - told.predicted_rate), 4),
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
        periods.vectors_of(rows).astype(np.float64), columns=list(schema.FEATURE_NAMES), index=rows.index
    )
    for name, values in categories.items():
        table[name] = table[name].map(dict(enumerate(values))).astype("str")
    return table.assign(probability_late=rows["probability_late"], late=rows["late"])


def _share(hits: pd.Series) -> float | None:
    return round(float(hits.mean()), 4) if len(hits) else None


def _has_unseen_category(rows: pd.DataFrame) -> pd.Series:
    """Flights with an airline, airport or destination that their model was never shown: coded as NaN."""
    positions = [schema.FEATURE_NAMES.index(name) for name in schema.CATEGORICAL]
    return pd.Series(np.isnan(periods.vectors_of(rows)[:, positions]).any(axis=1))


def _materialised(rows: pd.DataFrame) -> pd.DataFrame:
    """The features of those rows that had any."""
    known = rows[rows["features"] == "materialised"]
    return pd.DataFrame(periods.vectors_of(known), columns=list(schema.FEATURE_NAMES))


def _stale_feed_share(rows: pd.DataFrame) -> float | None:
    """Flights answered by old weather, or as if nothing had left New York for three hours: the larger share."""
    known = _materialised(rows)
    shares = _share(~(known["weather_age_hours"] <= STALE_HOURS)), _share(known["departures_all_3h_count"] == 0)
    return max((share for share in shares if share is not None), default=None)


def _blind_features(rows: pd.DataFrame, reference: pd.DataFrame) -> float | None:
    """How many features have a value for nearly no flight today, and had one for most when the model was measured."""
    known = _materialised(rows)
    if known.empty:
        return None
    names = list(schema.MATERIALISED)
    return float(((known[names].isna().mean() > BLIND) & (reference[names].isna().mean() < SEEING)).sum())
