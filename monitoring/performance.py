"""How right the answers were: predictions joined to outcomes, once those have come.

Days are the flights' own (scheduled departure, New York's calendar), not those of the asking. Of a flight that was
asked for often, the last answer counts. A flight that the answering model had been trained on counts for nothing,
and neither does one whose model was asked another question: other outcomes are right for it.
What is known, and by which moment, `database.known_outcomes` decides.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import sqlalchemy as sa

from ontime import database, evaluation, release, schema, slices
from ontime.params import Params
from ontime.release import Manifest
from ontime.schema import Question

FEWEST_DAYS = evaluation.FEWEST_DAYS


@dataclass(frozen=True)
class Performance:
    """Of a group of flights. Everything from `late_rate` on is None where nothing is known yet."""

    flights: int
    labelled: int
    late_rate: float | None = None
    predicted_rate: float | None = None
    scores: Mapping[str, float] | None = None  # None also where all or none were late: nothing to tell apart
    intervals: Mapping[str, evaluation.Interval] | None = None
    alert_precision: float | None = None
    alert_recall: float | None = None
    loss_excess: float | None = None  # log-loss less what the probabilities themselves expect
    auc_shortfall: float | None = None  # the AUC that the probabilities themselves expect, less the AUC

    @property
    def label_coverage(self) -> float:
        return self.labelled / self.flights if self.flights else 0.0

    def as_json(self) -> dict[str, Any]:
        told = asdict(self) | {"label_coverage": round(self.label_coverage, 4)}
        return told if self.labelled else {**told, "note": "no outcome is known yet: this says nothing"}


def answers(
    engine: sa.Engine,
    since: datetime,
    until: datetime,
    late_minutes: int,
    known_by: datetime | None = None,
    *,
    vectors: bool = False,
) -> pd.DataFrame:
    """One row for each flight scheduled in [since, until) that was answered: timetable, answer, and `late`.

    `late` is null where no outcome is known. With `vectors` also the model's whole input, as bytes.
    """
    timetable, answered = database.flights.c, database.predictions.c
    outcomes = database.known_outcomes(late_minutes, known_by)
    wanted = (
        sa.select(
            *(timetable[name] for name in ("flight_id", "carrier", "origin", "dest", "distance_miles")),
            timetable.scheduled_departure,
            *(answered[name] for name in ("model_version", "probability_late", "alert", "features")),
            *([answered.vector] if vectors else []),
            outcomes.c.late,
        )
        .join(database.predictions, answered.flight_id == timetable.flight_id)
        .outerjoin(outcomes, outcomes.c.flight_id == timetable.flight_id)
        .where(timetable.scheduled_departure >= since, timetable.scheduled_departure < until)
        .order_by(answered.prediction_id)
    )
    with engine.connect() as connection:
        found = connection.execute(wanted)
        rows = pd.DataFrame(found.all(), columns=list(found.keys()))
    rows = rows.drop_duplicates("flight_id", keep="last", ignore_index=True)
    # Without the cache, which would look at each moment one by one to see whether it pays, as `read_sql` does.
    moments = pd.to_datetime(rows["scheduled_departure"], utc=True, cache=False)
    wall = moments.dt.tz_convert(schema.CLOCK).dt.tz_localize(None)
    return rows.assign(
        day=wall.dt.normalize(),
        departure_minute=wall.dt.hour * 60.0 + wall.dt.minute,
        late=rows["late"].astype("boolean"),
        alert=rows["alert"].astype(bool),
    )


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
    """The figures of these flights; rows as `answers` has them."""
    known = rows[rows["late"].notna()]
    if known.empty:
        return Performance(flights=len(rows), labelled=0)
    late, told = known["late"].to_numpy(bool), known["probability_late"].to_numpy(np.float64)
    alert, days = known["alert"].to_numpy(bool), known["day"].to_numpy()
    both = 0 < late.sum() < len(late)
    return Performance(
        flights=len(rows),
        labelled=len(known),
        late_rate=round(float(late.mean()), 4),
        predicted_rate=round(float(told.mean()), 4),
        scores=evaluation.scores(late, told, params.cost) if both else None,
        intervals=(evaluation.intervals(late, told, days, params.cost) or None) if with_intervals and both else None,
        alert_precision=round(float(late[alert].mean()), 4) if alert.any() else None,
        alert_recall=round(float(alert[late].mean()), 4) if late.any() else None,
        loss_excess=round(float(evaluation.losses(late, told).mean() - evaluation.expected_loss(told)), 4),
        auc_shortfall=round(evaluation.expected_auc(told) - evaluation.auc(late, told), 4) if both else None,
    )


def by_group(rows: pd.DataFrame, params: Params) -> dict[str, dict[str, Performance]]:
    """Performance by month, model version, and each slice; with intervals by days."""
    cuts = slices.of_flights(rows).assign(version=rows["model_version"])
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
    return {f"{day:%Y-%m-%d}": measure(flights, params) for day, flights in rows.groupby("day")}


def paired(
    engine: sa.Engine, champion: Manifest, challenger: Manifest, known_by: datetime | None = None
) -> pd.DataFrame:
    """One row a flight that both scored and whose outcome is known: day, late, both probabilities, who answered.

    A flight that either was trained on counts for nothing. Raises ReleaseRefused for different questions.
    """
    release.refuse_another_question(challenger, champion)
    rows = _paired(
        engine, champion.version, challenger.version, database.known_outcomes(champion.late_minutes, known_by)
    )
    unseen = max(champion.trained_until, challenger.trained_until)
    return rows[rows["day"] >= pd.Timestamp(unseen)].reset_index(drop=True)


def _paired(engine: sa.Engine, champion: str, challenger: str, known: sa.Subquery) -> pd.DataFrame:
    answered, shadowed = database.predictions.c, database.shadows.c
    joined = (
        sa.select(
            answered.flight_id,
            answered.model_version.label("answered_by"),
            answered.probability_late.label("answered"),
            shadowed.probability_late.label("shadowed"),
            known.c.late,
        )
        .join(database.shadows, shadowed.prediction_id == answered.prediction_id)
        .join(known, known.c.flight_id == answered.flight_id)
        .where(
            sa.or_(
                sa.and_(answered.model_version == champion, shadowed.model_version == challenger),
                sa.and_(answered.model_version == challenger, shadowed.model_version == champion),
            )
        )
        .order_by(answered.prediction_id)
    )
    with engine.connect() as connection:
        rows = pd.read_sql(joined, connection).drop_duplicates("flight_id", keep="last")
    by_champion = rows["answered_by"] == champion
    departures = pd.to_datetime([schema.departure_of(flight_id) for flight_id in rows["flight_id"]], utc=True)
    return pd.DataFrame(
        {
            "day": departures.tz_convert(schema.CLOCK).tz_localize(None).normalize(),
            "late": rows["late"].to_numpy(bool),
            "champion": np.where(by_champion, rows["answered"], rows["shadowed"]),
            "challenger": np.where(by_champion, rows["shadowed"], rows["answered"]),
            "canary": ~by_champion.to_numpy(bool),
        }
    )


def paired_difference(flights: pd.DataFrame) -> evaluation.Estimate | None:
    """Log-loss of the challenger less the champion's, with its interval by days; None for fewer than two days."""
    late = flights["late"].to_numpy(bool)
    challenger, champion = (flights[name].to_numpy(np.float64) for name in ("challenger", "champion"))
    return evaluation.paired_difference(late, challenger, champion, flights["day"].to_numpy()) if len(late) else None
