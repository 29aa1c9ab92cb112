"""Ideas for features: columns that no model uses, and that `ontime study features` measures.

A problem declares them as `IDEAS` in problem/ideas.py, a file that it may leave out. Only the study imports it, so a
mistake in an idea stops neither a training nor production, and a changed idea runs no stage again (.dvcignore).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pandas as pd

from ontime import features
from ontime.datasets import KEY, Tables
from ontime.declaration import Columns, Question
from ontime.params import FeatureParams
from ontime.problem.data import DATA

MODULE = "ontime.problem.ideas"
HALO = timedelta(days=31)  # of the tables before a period, if the features need less: an idea may look back a month


@dataclass(frozen=True)
class Idea:
    """Columns of numbers, computed as `Data.online_features` computes its own: from what was known at the moment."""

    words: str  # what they describe
    columns: Callable[[Tables, datetime, datetime, FeatureParams, Question], Columns]


@dataclass(frozen=True)
class RequestIdea:
    """Columns of numbers, computed as `Problem.request_features` computes its own: from the fields of the request.

    They are known of every entity, so the study measures them beside the request's features alone as well.
    """

    words: str
    columns: Callable[[Columns], Columns]


Ideas = Mapping[str, Idea | RequestIdea]


def declared_ideas() -> Ideas:
    """The ideas of the problem by name; none without problem/ideas.py."""
    return import_module(MODULE).IDEAS if find_spec(MODULE) else {}


def idea_features(
    ideas: Ideas,
    tables: Tables,
    start: datetime,
    end: datetime,
    params: FeatureParams,
    question: Question,
) -> pd.DataFrame:
    """One row for each entity with `start <= event time < end`: entity_id, moment, and each column as `idea.column`."""
    table = tables[DATA.entities]
    selected = table[table[DATA.event_at].between(start, end, inclusive="left")]
    moment = selected[DATA.event_at] - pd.Timedelta(minutes=params.lead_minutes)
    fields = features.fields_of(selected)
    computed = {
        name: idea.columns(fields)
        if isinstance(idea, RequestIdea)
        else idea.columns(tables, start, end, params, question)
        for name, idea in ideas.items()
    }
    columns = {
        f"{name}.{column}": np.asarray(values, np.float64)
        for name, of_idea in computed.items()
        for column, values in of_idea.items()
    }
    return pd.DataFrame({KEY: selected[KEY].to_numpy(), "moment": moment.array, **columns})
