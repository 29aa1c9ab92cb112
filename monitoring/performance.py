"""Measures the predictions: joined to their outcomes, as far as these are known.

A day is that of the event, in the problem's time zone, not that of the request. If an entity was requested several
times, its last prediction counts. An entity does not count if its model was trained on it, or if its model answers
another question (label rule and lead), because then the outcomes are not those that it predicts.
`database.known_outcomes` defines which outcomes are known at a moment.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from ontime import database, database_tables, evaluation, release_pointer, schema, slices
from ontime.declaration import Question
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.release import Manifest
from ontime.schema import ZONE

FEWEST_DAYS = evaluation.MIN_DAYS


@dataclass(frozen=True)
class Performance:
    """The metrics of a group of entities. All from `positive_rate` on are None if no outcome is known yet."""

    entities: int
    labelled: int
    positive_rate: float | None = None
    predicted_rate: float | None = None
    scores: Mapping[str, float] | None = None  # None also if all labels are equal
    intervals: Mapping[str, evaluation.Interval] | None = None
    alert_precision: float | None = None
    alert_recall: float | None = None
    loss_excess: float | None = None  # the observed log-loss minus its expectation under calibrated probabilities
    auc_shortfall: float | None = None  # the expected AUC under calibrated probabilities, minus the observed AUC

    @property
    def label_coverage(self) -> float:
        return self.labelled / self.entities if self.entities else 0.0

    def as_json(self) -> dict[str, Any]:
        values = asdict(self) | {"label_coverage": round(self.label_coverage, 4)}
        return values if self.labelled else {**values, "note": "no outcome is known yet, so nothing is measured"}


def predictions_with_outcomes(
    engine: sa.Engine,
    since: datetime,
    until: datetime,
    label_at_least: float,
    known_by: datetime | None = None,
    *,
    requests: bool = True,
    vectors: bool = False,
) -> pd.DataFrame:
    """One row for each predicted entity with an event in [since, until): its last prediction, `day` and `label`.

    In the order of `prediction_id`. `label` is null if no outcome is known. With `requests`, the fields of its request
    are columns. With `vectors`, the column `vector` has the model's whole input as bytes.
    """
    entity, prediction = database_tables.entities.c, database_tables.predictions.c
    outcomes = database.known_outcomes(label_at_least, known_by)
    same_entity = database_tables.predictions.alias("same_entity")
    last = sa.select(sa.func.max(same_entity.c.prediction_id)).where(same_entity.c.entity_id == entity.entity_id)
    last = last.correlate(database_tables.entities)
    query = (
        sa.select(
            *(entity if requests else (entity.entity_id, entity.event_at)),
            *(prediction[name] for name in ("prediction_id", "model_version", "probability", "alert", "features")),
            *([prediction.vector] if vectors else []),
            outcomes.c.label,
        )
        .select_from(database_tables.entities)
        .join(database_tables.predictions, prediction.prediction_id == last.scalar_subquery())
        .outerjoin(outcomes, outcomes.c.entity_id == entity.entity_id)
        .where(entity.event_at >= since, entity.event_at < until)
        .order_by(prediction.prediction_id)
    )
    with engine.connect() as connection:
        result = connection.execute(query)
        rows = pd.DataFrame(result.all(), columns=list(result.keys()))
    return rows.assign(
        day=_days(rows["event_at"]), label=rows["label"].astype("boolean"), alert=rows["alert"].astype(bool)
    )


def _days(moments: pd.Series) -> pd.Series:
    """Midnight of each moment's day in the problem's time zone."""
    # Without the cache: it would check each moment for duplicates, and so does `read_sql`.
    utc = pd.to_datetime(moments, utc=True, cache=False)
    return utc.dt.tz_convert(ZONE).dt.tz_localize(None).dt.normalize()


def out_of_sample(rows: pd.DataFrame, trained_until: Mapping[str, date]) -> pd.DataFrame:
    """The rows whose model was trained on earlier days only. Raises KeyError for a version not in `trained_until`.

    >>> rows = pd.DataFrame({"model_version": ["1", "2"], "day": pd.to_datetime(["2013-07-01", "2013-07-01"])})
    >>> out_of_sample(rows, {"1": date(2013, 6, 1), "2": date(2013, 7, 2)})["model_version"].tolist()
    ['1']
    """
    limit_of = {version: pd.Timestamp(day) for version, day in trained_until.items()}
    limits = rows["model_version"].map(limit_of).astype("datetime64[us]")  # the dtype of an empty `map` is not a date
    unknown = sorted(set(rows.loc[limits.isna(), "model_version"]))
    if unknown:
        raise KeyError(f"predictions of release {', '.join(unknown)}, which is no longer published")
    return rows[rows["day"] >= limits]


def with_question(rows: pd.DataFrame, question: Question, questions: Mapping[str, Question]) -> pd.DataFrame:
    """The rows whose model answers this question; `questions` has the question of each version."""
    return rows[rows["model_version"].map(lambda version: questions[version] == question).astype(bool)]


def summarise(rows: pd.DataFrame, params: Params, *, with_intervals: bool = False) -> Performance:
    """The metrics of these rows, which come from `predictions_with_outcomes`."""
    labelled = rows[rows["label"].notna()]
    if labelled.empty:
        return Performance(entities=len(rows), labelled=0)
    label, probability = labelled["label"].to_numpy(bool), labelled["probability"].to_numpy(np.float64)
    alert, days = labelled["alert"].to_numpy(bool), labelled["day"].to_numpy()
    both = 0 < label.sum() < len(label)
    return Performance(
        entities=len(rows),
        labelled=len(labelled),
        positive_rate=round(float(label.mean()), 4),
        predicted_rate=round(float(probability.mean()), 4),
        scores=evaluation.scores(label, probability, params.cost) if both else None,
        intervals=(
            (evaluation.intervals(label, probability, days, params.cost) or None) if with_intervals and both else None
        ),
        alert_precision=round(float(label[alert].mean()), 4) if alert.any() else None,
        alert_recall=round(float(alert[label].mean()), 4) if label.any() else None,
        loss_excess=round(
            float(evaluation.losses(label, probability).mean() - evaluation.expected_loss(probability)), 4
        ),
        auc_shortfall=(
            round(evaluation.expected_auc(probability) - evaluation.auc(label, probability), 4) if both else None
        ),
    )


def vectors_of(rows: pd.DataFrame) -> NDArray[np.float32]:
    """The model's inputs, shape (n, features)."""
    stored = b"".join(rows["vector"]) if len(rows) else b""
    return np.frombuffer(stored, "<f4").reshape(len(rows), len(schema.FEATURE_NAMES))


def with_slice_features(rows: pd.DataFrame, categories: Mapping[str, Mapping[str, Sequence[str]]]) -> pd.DataFrame:
    """The rows, with the features that define slices; `rows` as `predictions_with_outcomes` returns, with vectors.

    A category that is a text of the request is a column already, also with values that no model was trained on. A
    number comes from the model's input, because a field of the same name may have another unit. `categories`: by
    version.
    """
    vectors, columns = vectors_of(rows), {}
    for name in {dimension.feature for dimension in PROBLEM.slices}:
        if name in schema.CATEGORICAL and name in rows and not pd.api.types.is_numeric_dtype(rows[name]):
            continue
        values = pd.Series(vectors[:, schema.FEATURE_NAMES.index(name)].astype(np.float64), rows.index)
        if name in schema.CATEGORICAL:
            for version in rows["model_version"].unique():
                own = rows["model_version"] == version
                texts = dict(enumerate(categories[version][name]))
                values = values.astype(object).mask(own, values[own].map(texts))
            values = values.fillna(slices.UNKNOWN)
        columns[name] = values
    return rows.assign(**columns)


def by_group(
    rows: pd.DataFrame, params: Params, categories: Mapping[str, Mapping[str, Sequence[str]]]
) -> dict[str, dict[str, Performance]]:
    """Performance by month, model version, and each slice; with intervals by days. `rows` with vectors."""
    dimensions = slices.of_entities(with_slice_features(rows, categories)).assign(version=rows["model_version"])
    return {
        str(dimension): {
            str(name): summarise(rows.loc[members], params, with_intervals=True)
            for name, members in sorted(
                rows.groupby(dimensions[dimension]).groups.items(), key=lambda group: slices.order(str(group[0]))
            )
        }
        for dimension in dimensions
    }


def by_day(rows: pd.DataFrame, params: Params) -> dict[str, Performance]:
    return {f"{day:%Y-%m-%d}": summarise(entities, params) for day, entities in rows.groupby("day")}


def paired_predictions(
    engine: sa.Engine, champion: Manifest, challenger: Manifest, known_by: datetime | None = None
) -> pd.DataFrame:
    """One row per labelled entity that both models scored: day, label, both probabilities, and which was live.

    Entities that either model was trained on are left out. Raises ReleaseRefused for different questions.
    """
    release_pointer.require_same_question(challenger, champion)
    rows = _read_pairs(
        engine, champion.version, challenger.version, database.known_outcomes(champion.label_at_least, known_by)
    )
    unseen = max(champion.trained_until, challenger.trained_until)
    return rows[rows["day"] >= pd.Timestamp(unseen)].reset_index(drop=True)


def _read_pairs(engine: sa.Engine, champion: str, challenger: str, outcomes: sa.Subquery) -> pd.DataFrame:
    live, shadow = database_tables.predictions.c, database_tables.shadows.c
    query = (
        sa.select(
            live.entity_id,
            database_tables.entities.c.event_at,
            live.model_version.label("live_version"),
            live.probability.label("live"),
            shadow.probability.label("shadow"),
            outcomes.c.label,
        )
        .join(database_tables.shadows, shadow.prediction_id == live.prediction_id)
        .join(database_tables.entities, database_tables.entities.c.entity_id == live.entity_id)
        .join(outcomes, outcomes.c.entity_id == live.entity_id)
        .where(
            shadow.model_version.in_((champion, challenger)),  # the index that the condition below cannot use
            sa.or_(
                sa.and_(live.model_version == champion, shadow.model_version == challenger),
                sa.and_(live.model_version == challenger, shadow.model_version == champion),
            ),
        )
        .order_by(live.prediction_id)
    )
    with engine.connect() as connection:
        result = connection.execute(query)
        rows = pd.DataFrame(result.all(), columns=list(result.keys()))
    rows = rows.drop_duplicates("entity_id", keep="last")
    by_champion = rows["live_version"] == champion
    return pd.DataFrame(
        {
            "day": _days(rows["event_at"]),
            "label": rows["label"].to_numpy(bool),
            "champion": np.where(by_champion, rows["live"], rows["shadow"]),
            "challenger": np.where(by_champion, rows["shadow"], rows["live"]),
            "canary": ~by_champion.to_numpy(bool),
        }
    )


def loss_difference(entities: pd.DataFrame) -> evaluation.Estimate | None:
    """The challenger's log-loss minus the champion's, with its interval by days; None for fewer than two days."""
    label = entities["label"].to_numpy(bool)
    challenger, champion = (entities[name].to_numpy(np.float64) for name in ("challenger", "champion"))
    return evaluation.paired_difference(label, challenger, champion, entities["day"].to_numpy()) if len(label) else None
