"""The features of entities as of their prediction moments: assembled here for training, production, batch and stream.

What a request tells is computed by the problem's `request_features`, in the service as well; the rest by its `as_of`.
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

    `tables` must reach back `halo_hours` before `start`; what lies outside is not looked at, so a month built alone
    equals the same month built with its year.
    """
    table = tables[DATA.entities]
    asked = table[table[DATA.event_at].between(start, end, inclusive="left")]
    columns = dict(PROBLEM.request_features(fields_of(asked)))
    if DATA.as_of is not None:
        columns |= DATA.as_of(tables, start, end, params, question)
    moment = asked[DATA.event_at] - pd.Timedelta(minutes=params.lead_minutes)
    keys = {KEY: asked[KEY].to_numpy(), "moment": moment.array}
    return pd.DataFrame({**keys, **{name: columns[name] for name in schema.FEATURE_NAMES}})


def fields_of(entities: pd.DataFrame) -> Columns:
    """The fields of the request as arrays; times in UTC, without a zone."""
    return {name: _array(entities[name]) for name in PROBLEM.request.model_fields}


def _array(values: pd.Series) -> NDArray[Any]:
    of_moments = isinstance(values.dtype, pd.DatetimeTZDtype)
    return values.dt.tz_localize(None).to_numpy() if of_moments else values.to_numpy()


def with_label(built: pd.DataFrame, entities: pd.DataFrame, at_least: float) -> pd.DataFrame:
    """The rows with `day` (the problem's calendar), `value` and `label`, both null where unknown."""
    entity = entities.set_index(KEY).loc[built[KEY]]
    value = entity[PROBLEM.label.column].to_numpy(np.float64)
    label = pd.array(value >= at_least, dtype="boolean")
    label[np.isnan(value)] = pd.NA
    return built.assign(day=sources.day_of(entity[DATA.event_at]).to_numpy(), value=value, label=label)


def online_of(built: pd.DataFrame) -> tuple[NDArray[np.float32], list[dict[str, str]]]:
    """What the online store holds of each row: numbers, schema.ONLINE in order, and the categories among them."""
    numbers = built[[*schema.ONLINE]].assign(**dict.fromkeys(schema.ONLINE_TEXTS, np.nan)).to_numpy("float32")
    rows = built[[*schema.ONLINE_TEXTS]].to_dict("records") if schema.ONLINE_TEXTS else [{}] * len(built)
    return numbers, [{str(name): str(text) for name, text in row.items() if not pd.isna(text)} for row in rows]
