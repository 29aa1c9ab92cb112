"""`make compare`: champion and challenger on the flights that both scored and whose outcome is known.

Both said their word on the very same requests: one as the answer, the other in the shadow. So the difference is
paired, and its interval comes from drawing whole days, as the gate's does.
"""

import sys

import numpy as np
import pandas as pd
import sqlalchemy as sa

from ontime import database, evaluation, release, schema
from ontime.params import Gate, load_params
from ontime.release import NoRelease, Pointer
from ontime.settings import load_settings

FEWEST_DAYS = 2


def both(engine: sa.Engine, champion: str, challenger: str) -> pd.DataFrame:
    """One row a flight: day, late, and both probabilities. Of a flight that was asked for often, the last time."""
    answered, shadowed, known = database.predictions.c, database.shadows.c, database.outcomes.c
    joined = (
        sa.select(
            answered.flight_id,
            answered.model_version.label("answered_by"),
            answered.probability_late.label("answered"),
            shadowed.probability_late.label("shadowed"),
            known.late,
        )
        .join(database.shadows, shadowed.prediction_id == answered.prediction_id)
        .join(database.outcomes, known.flight_id == answered.flight_id)
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


def verdict(flights: pd.DataFrame, gate: Gate, seed: int) -> str:
    """The paired difference in log-loss, challenger less champion, with its 95 % interval by days."""
    late, days = flights["late"].to_numpy(), flights["day"].to_numpy()
    champion, challenger = (flights[name].to_numpy(np.float64) for name in ("champion", "challenger"))
    difference = evaluation.losses(late, challenger) - evaluation.losses(late, champion)
    index, drawn = evaluation.day_weights(days, gate.bootstrap_rounds, seed)
    low, high = evaluation.interval_of(evaluation.mean_by_days(difference, index, drawn))
    better = "better" if high < 0 else "worse" if low > 0 else "not told apart"
    return (
        f"challenger less champion {difference.mean():+.4f}, 95 % interval by days {low:+.4f} to {high:+.4f}: {better}"
    )


def report(flights: pd.DataFrame, pointer: Pointer, gate: Gate, seed: int) -> str:
    """All lines that are printed. Raises ValueError where there is nothing to compare, saying what is missing."""
    assert pointer.challenger is not None  # noqa: S101  main has asked
    if flights["day"].nunique() < FEWEST_DAYS:
        raise ValueError(
            f"{len(flights)} flights of {flights['day'].nunique()} days were scored by both and have an outcome; "
            f"an interval by days needs at least {FEWEST_DAYS}"
        )
    late = flights["late"].to_numpy()
    losses = {
        name: evaluation.losses(late, flights[name].to_numpy(np.float64)).mean() for name in ("champion", "challenger")
    }
    return "\n".join(
        [
            f"compare: {len(flights):,} flights of {flights['day'].nunique()} days, {late.mean():.1%} late, "
            f"{flights['canary'].mean():.1%} answered by the challenger",
            f"log-loss: champion {pointer.version} {losses['champion']:.4f}, "
            f"challenger {pointer.challenger.version} {losses['challenger']:.4f}",
            verdict(flights, gate, seed),
        ]
    )


def main() -> None:
    params = load_params()
    try:
        settings = load_settings()
        pointer = release.read_pointer(settings.releases)
        if pointer is None or pointer.challenger is None:
            raise NoRelease("nobody challenges the current release; try `make shadow VERSION=2`")
        engine = database.connect(settings.database_url.get_secret_value())
        flights = both(engine, pointer.version, pointer.challenger.version)
        print(report(flights, pointer, params.gate, params.train.seed))
    except ValueError as nothing:
        sys.exit(f"compare: {nothing}")


if __name__ == "__main__":
    main()
