"""How right the answers were: predictions joined to outcomes, once those have come.

Days are those of the event time, on the problem's calendar, not those of the asking. Of an entity that was asked for
often, the last answer counts. An entity that the answering model had been trained on counts for nothing,
and neither does one whose model was asked another question: other outcomes are right for it.
What is known, and by which moment, `database.known_outcomes` decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa
from numpy.typing import NDArray

from ontime import database, evaluation, release, schema, slices
from ontime.declaration import Question
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.release import Manifest
from ontime.schema import ZONE

FEWEST_DAYS = evaluation.FEWEST_DAYS


@dataclass(frozen=True)
class Performance:
    """Of a group of entities. Everything from `positive_rate` on is None where nothing is known yet."""

    entities: int
    labelled: int
    positive_rate: float | None = None
    predicted_rate: float | None = None
    scores: Mapping[str, float] | None = None  # None also where all labels are alike: nothing to tell apart
    intervals: Mapping[str, evaluation.Interval] | None = None
    alert_precision: float | None = None
    alert_recall: float | None = None
    loss_excess: float | None = None  # log-loss less what the probabilities themselves expect
    auc_shortfall: float | None = None  # the AUC that the probabilities themselves expect, less the AUC

    @property
    def label_coverage(self) -> float:
        return self.labelled / self.entities if self.entities else 0.0

    def as_json(self) -> dict[str, Any]:
        told = asdict(self) | {"label_coverage": round(self.label_coverage, 4)}
        return told if self.labelled else {**told, "note": "no outcome is known yet: this says nothing"}


def answers(
    engine: sa.Engine,
    since: datetime,
    until: datetime,
    label_at_least: float,
    known_by: datetime | None = None,
    *,
    vectors: bool = False,
) -> pd.DataFrame:
    """One row for each entity with an event in [since, until) that was answered: its request, the answer, `label`.

    `label` is null where no outcome is known. With `vectors` also the model's whole input, as bytes.
    """
    entity, answered = database.entities.c, database.predictions.c
    outcomes = database.known_outcomes(label_at_least, known_by)
    wanted = (
        sa.select(
            *entity,
            *(answered[name] for name in ("model_version", "probability", "alert", "features")),
            *([answered.vector] if vectors else []),
            outcomes.c.label,
        )
        .join(database.predictions, answered.entity_id == entity.entity_id)
        .outerjoin(outcomes, outcomes.c.entity_id == entity.entity_id)
        .where(entity.event_at >= since, entity.event_at < until)
        .order_by(answered.prediction_id)
    )
    with engine.connect() as connection:
        found = connection.execute(wanted)
        rows = pd.DataFrame(found.all(), columns=list(found.keys()))
    rows = rows.drop_duplicates("entity_id", keep="last", ignore_index=True)
    return rows.assign(
        day=_days(rows["event_at"]), label=rows["label"].astype("boolean"), alert=rows["alert"].astype(bool)
    )


def _days(moments: pd.Series) -> pd.Series:
    """Midnight of each moment's day on the problem's calendar."""
    # Without the cache, which would look at each moment one by one to see whether it pays, as `read_sql` does.
    utc = pd.to_datetime(moments, utc=True, cache=False)
    return utc.dt.tz_convert(ZONE).dt.tz_localize(None).dt.normalize()


def unseen_by_their_model(rows: pd.DataFrame, trained_until: Mapping[str, date]) -> pd.DataFrame:
    """The rows whose model was trained on earlier days only. Raises KeyError for a version nobody told of."""
    known = {version: pd.Timestamp(day) for version, day in trained_until.items()}
    limits = rows["model_version"].map(known).astype("datetime64[us]")  # of no rows at all, `map` makes no dates
    unknown = sorted(set(rows.loc[limits.isna(), "model_version"]))
    if unknown:
        raise KeyError(f"predictions of release {', '.join(unknown)}, which is not published any more")
    return rows[rows["day"] >= limits]


def of_question(rows: pd.DataFrame, question: Question, asked: Mapping[str, Question]) -> pd.DataFrame:
    """The rows whose model was asked that; `asked` has the question of each version."""
    return rows[rows["model_version"].map(lambda version: asked[version] == question).astype(bool)]


def measure(rows: pd.DataFrame, params: Params, *, with_intervals: bool = False) -> Performance:
    """The figures of these entities; rows as `answers` has them."""
    known = rows[rows["label"].notna()]
    if known.empty:
        return Performance(entities=len(rows), labelled=0)
    label, told = known["label"].to_numpy(bool), known["probability"].to_numpy(np.float64)
    alert, days = known["alert"].to_numpy(bool), known["day"].to_numpy()
    both = 0 < label.sum() < len(label)
    return Performance(
        entities=len(rows),
        labelled=len(known),
        positive_rate=round(float(label.mean()), 4),
        predicted_rate=round(float(told.mean()), 4),
        scores=evaluation.scores(label, told, params.cost) if both else None,
        intervals=(evaluation.intervals(label, told, days, params.cost) or None) if with_intervals and both else None,
        alert_precision=round(float(label[alert].mean()), 4) if alert.any() else None,
        alert_recall=round(float(alert[label].mean()), 4) if label.any() else None,
        loss_excess=round(float(evaluation.losses(label, told).mean() - evaluation.expected_loss(told)), 4),
        auc_shortfall=round(evaluation.expected_auc(told) - evaluation.auc(label, told), 4) if both else None,
    )


def vectors_of(rows: pd.DataFrame) -> NDArray[np.float32]:
    """The model's inputs, shape (n, features)."""
    stored = b"".join(rows["vector"]) if len(rows) else b""
    return np.frombuffer(stored, "<f4").reshape(len(rows), len(schema.FEATURE_NAMES))


def with_slice_features(rows: pd.DataFrame, categories: Mapping[str, Mapping[str, Sequence[str]]]) -> pd.DataFrame:
    """The rows, with the features that slices are cut by; `rows` as `answers` has them, with vectors.

    A category that is a text of the request is there already, also with values that no model was shown. A number is
    taken from the model's input: a field of its name may be in another unit. `categories`: by version.
    """
    vectors, columns = vectors_of(rows), {}
    for name in {cut.feature for cut in PROBLEM.slices}:
        if name in schema.CATEGORICAL and name in rows and not pd.api.types.is_numeric_dtype(rows[name]):
            continue
        values = pd.Series(vectors[:, schema.FEATURE_NAMES.index(name)].astype(np.float64), rows.index)
        if name in schema.CATEGORICAL:
            for version in rows["model_version"].unique():
                own = rows["model_version"] == version
                known = dict(enumerate(categories[version][name]))
                values = values.astype(object).mask(own, values[own].map(known))
            values = values.fillna(slices.UNKNOWN)
        columns[name] = values
    return rows.assign(**columns)


def by_group(
    rows: pd.DataFrame, params: Params, categories: Mapping[str, Mapping[str, Sequence[str]]]
) -> dict[str, dict[str, Performance]]:
    """Performance by month, model version, and each slice; with intervals by days. `rows` with vectors."""
    cuts = slices.of_entities(with_slice_features(rows, categories)).assign(version=rows["model_version"])
    return {
        str(cut): {
            str(name): measure(rows.loc[members], params, with_intervals=True)
            for name, members in sorted(
                rows.groupby(cuts[cut]).groups.items(), key=lambda group: slices.order(str(group[0]))
            )
        }
        for cut in cuts
    }


def by_day(rows: pd.DataFrame, params: Params) -> dict[str, Performance]:
    return {f"{day:%Y-%m-%d}": measure(entities, params) for day, entities in rows.groupby("day")}


def paired(
    engine: sa.Engine, champion: Manifest, challenger: Manifest, known_by: datetime | None = None
) -> pd.DataFrame:
    """One row an entity that both scored and whose outcome is known: day, label, both probabilities, who answered.

    An entity that either was trained on counts for nothing. Raises ReleaseRefused for different questions.
    """
    release.refuse_another_question(challenger, champion)
    rows = _paired(
        engine, champion.version, challenger.version, database.known_outcomes(champion.label_at_least, known_by)
    )
    unseen = max(champion.trained_until, challenger.trained_until)
    return rows[rows["day"] >= pd.Timestamp(unseen)].reset_index(drop=True)


def _paired(engine: sa.Engine, champion: str, challenger: str, known: sa.Subquery) -> pd.DataFrame:
    answered, shadowed = database.predictions.c, database.shadows.c
    joined = (
        sa.select(
            answered.entity_id,
            database.entities.c.event_at,
            answered.model_version.label("answered_by"),
            answered.probability.label("answered"),
            shadowed.probability.label("shadowed"),
            known.c.label,
        )
        .join(database.shadows, shadowed.prediction_id == answered.prediction_id)
        .join(database.entities, database.entities.c.entity_id == answered.entity_id)
        .join(known, known.c.entity_id == answered.entity_id)
        .where(
            sa.or_(
                sa.and_(answered.model_version == champion, shadowed.model_version == challenger),
                sa.and_(answered.model_version == challenger, shadowed.model_version == champion),
            )
        )
        .order_by(answered.prediction_id)
    )
    with engine.connect() as connection:
        rows = pd.read_sql(joined, connection).drop_duplicates("entity_id", keep="last")
    by_champion = rows["answered_by"] == champion
    return pd.DataFrame(
        {
            "day": _days(rows["event_at"]),
            "label": rows["label"].to_numpy(bool),
            "champion": np.where(by_champion, rows["answered"], rows["shadowed"]),
            "challenger": np.where(by_champion, rows["shadowed"], rows["answered"]),
            "canary": ~by_champion.to_numpy(bool),
        }
    )


def paired_difference(entities: pd.DataFrame) -> evaluation.Estimate | None:
    """Log-loss of the challenger less the champion's, with its interval by days; None for fewer than two days."""
    label = entities["label"].to_numpy(bool)
    challenger, champion = (entities[name].to_numpy(np.float64) for name in ("challenger", "champion"))
    return evaluation.paired_difference(label, challenger, champion, entities["day"].to_numpy()) if len(label) else None
