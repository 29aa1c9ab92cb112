"""Builds the feature table of a period, for training and for production.

The problem's `request_features` computes the features of the request, also in the service; its `online_features` all
others.
"""

from datetime import datetime
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ontime import schema, sources
from ontime.datasets import KEY, Tables
from ontime.declaration import Columns, Question
from ontime.params import FeatureParams
from ontime.problem import PROBLEM
from ontime.problem.data import DATA


def build(tables: Tables, start: datetime, end: datetime, params: FeatureParams, question: Question) -> pd.DataFrame:
    """One row for each entity with `start <= event time < end`: entity_id, moment, schema.FEATURES.

    `tables` must begin `halo_hours` before `start`. Earlier rows have no effect, so a month built alone equals the same
    month built with its year.
    """
    table = tables[DATA.entities]
    selected = table[table[DATA.event_at].between(start, end, inclusive="left")]
    columns = dict(PROBLEM.request_features(fields_of(selected)))
    if DATA.online_features is not None:
        columns |= DATA.online_features(tables, start, end, params, question)
    moment = selected[DATA.event_at] - pd.Timedelta(minutes=params.lead_minutes)
    keys = {KEY: selected[KEY].to_numpy(), "moment": moment.array}
    return pd.DataFrame({**keys, **{name: columns[name] for name in schema.FEATURE_NAMES}})


def fields_of(entities: pd.DataFrame) -> Columns:
    """The fields of the request as arrays; times in UTC, without a zone."""
    return {name: _array(entities[name]) for name in PROBLEM.request.model_fields}


def _array(values: pd.Series) -> NDArray[Any]:
    is_time = isinstance(values.dtype, pd.DatetimeTZDtype)
    return values.dt.tz_localize(None).to_numpy() if is_time else values.to_numpy()


def with_label(built: pd.DataFrame, entities: pd.DataFrame, at_least: float) -> pd.DataFrame:
    """The rows with `day` (in the problem's time zone), `value` and `label`, both null if unknown."""
    entity = entities.set_index(KEY).loc[built[KEY]]
    value = entity[PROBLEM.label.column].to_numpy(np.float64)
    label = pd.array(value >= at_least, dtype="boolean")
    label[np.isnan(value)] = pd.NA
    return built.assign(day=sources.days_of(entity[DATA.event_at]).to_numpy(), value=value, label=label)


def online_of(built: pd.DataFrame) -> tuple[NDArray[np.float32], list[dict[str, str]]]:
    """The online features of each row: numbers, in the order of schema.ONLINE, and categorical values by name."""
    numbers = built[[*schema.ONLINE]].assign(**dict.fromkeys(schema.ONLINE_TEXTS, np.nan)).to_numpy("float32")
    rows = built[[*schema.ONLINE_TEXTS]].to_dict("records") if schema.ONLINE_TEXTS else [{}] * len(built)
    return numbers, [{str(name): str(text) for name, text in row.items() if not pd.isna(text)} for row in rows]
