"""The days of data/validated/ and their kinds, for the exploration report and the model card."""

from collections.abc import Callable
from typing import Any

import pandas as pd

from ontime import day_kinds, sources
from ontime.day_kinds import DayKinds
from ontime.declaration import Question
from ontime.params import Params
from ontime.problem import PROBLEM
from ontime.problem.data import DATA
from pipelines.layout import VALIDATED, months_in, read_months


def read_kinds(params: Params) -> tuple[DayKinds, pd.DataFrame] | None:
    """The kinds of the training period's days, and the table of all days.

    None if the problem declares no columns of days, or if too few days of the training period differ.
    """
    if not DATA.day_columns:
        return None
    days = read_days(params.question)
    kinds = day_kinds.fit_kinds(days, DATA.day_columns, (params.split.train_from, params.split.valid_from))
    return None if kinds is None else (kinds, days)


def read_days(question: Question) -> pd.DataFrame:
    """One row a day: `DATA.day_columns` by their names, and how many entities have a label, and a positive one."""

    def positive(values: Any) -> Any:
        return (values >= question.label_at_least).sum()

    columns = {each.name: _by_day(each.table, each.column, each.statistic) for each in DATA.day_columns}
    label = DATA.entities, PROBLEM.label.column
    return pd.DataFrame({**columns, "labelled": _by_day(*label, "count"), "positive": _by_day(*label, positive)})


def _by_day(name: str, column: str, statistic: str | Callable[[Any], Any]) -> pd.Series:
    """A statistic of a column over each day, month by month: a day is in one month, as both are local."""
    folder, moment = VALIDATED / name, DATA.table(name).moment
    assert moment is not None  # noqa: S101  checked on construction
    months = (read_months(folder, [month], columns=[moment, column]) for month in months_in(folder))
    return pd.concat([rows[column].groupby(sources.days_of(rows[moment])).agg(statistic) for rows in months])
