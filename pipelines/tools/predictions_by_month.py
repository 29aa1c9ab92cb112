"""Reads a long period of predictions with their outcomes, month by month and side by side (ONTIME_ENGINE)."""

from datetime import date, datetime, timedelta
from functools import partial

import pandas as pd
from pydantic import SecretStr

from monitoring import performance
from ontime import database
from ontime.local_time import midnight
from ontime.settings import Settings
from pipelines import engines


def read_predictions(
    settings: Settings, start: date, until: date, label_at_least: float, known_by: datetime | None = None
) -> pd.DataFrame:
    """`performance.predictions_with_outcomes` of the events from `start` until `until`, exclusive, with vectors.

    With workers on other machines the database must be one that they reach.
    """
    read = partial(_read_part, url=settings.database_url, label_at_least=label_at_least, known_by=known_by)
    rows = pd.concat(engines.map_parts(read, _months(start, until)))
    return rows.sort_values("prediction_id", ignore_index=True)


def _read_part(
    part: tuple[date, date], url: SecretStr, label_at_least: float, known_by: datetime | None
) -> pd.DataFrame:
    since, until = map(midnight, part)
    engine = database.engine_of_process(url)
    return performance.predictions_with_outcomes(engine, since, until, label_at_least, known_by, vectors=True)


def _months(start: date, until: date) -> list[tuple[date, date]]:
    """The parts of a period that lie in one month each.

    >>> _months(date(2013, 1, 30), date(2013, 3, 1))
    [(datetime.date(2013, 1, 30), datetime.date(2013, 2, 1)), (datetime.date(2013, 2, 1), datetime.date(2013, 3, 1))]
    """
    parts = []
    while start < until:
        following = min((start.replace(day=1) + timedelta(days=31)).replace(day=1), until)
        parts.append((start, following))
        start = following
    return parts
