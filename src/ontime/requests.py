"""Converts a row of the entities' table into the request that a caller would send for it."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from pydantic import ValidationError

from ontime.datasets import KEY
from ontime.declaration import ENTITY_ID, EntityRequest
from ontime.problem import PROBLEM
from ontime.problem.data import DATA

CHECKED_ROWS = 200


def request_of(row: pd.Series) -> EntityRequest:
    """The request for a row of the entities' table. Raises pydantic's ValidationError."""
    fields = {name: row[name] for name in PROBLEM.request.model_fields}
    return PROBLEM.request.model_validate({name: _plain(value) for name, value in fields.items()})


def _plain(value: object) -> object:
    """The value as a Python number, str or datetime; None if it is missing."""
    if pd.isna(value):  # type: ignore[call-overload]  # one value of a row
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value.item() if isinstance(value, np.generic) else value


def request_errors(entities: pd.DataFrame) -> Iterator[str]:
    """Which row differs from its request, and why: the first such row of CHECKED_ROWS evenly spread ones.

    Without this check, training could use entities that the service rejects, or that it stores under another key, so
    that no outcome matches its prediction.
    """
    chosen = entities.iloc[np.linspace(0, len(entities) - 1, min(CHECKED_ROWS, len(entities))).astype(int)]
    for number, row in chosen.iterrows():
        if reason := _mismatch(row):
            yield f"row {number}, {KEY} {row[KEY]!r}: {reason}"
            return


def _mismatch(row: pd.Series) -> str | None:
    try:
        request = request_of(row)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r})"
    if request.entity_id != row[KEY]:
        return f"the request's own is {request.entity_id!r}"
    if not re.fullmatch(ENTITY_ID, request.entity_id):
        return f"only letters, digits and _.:+- are allowed: {ENTITY_ID}"
    if request.event_at != row[DATA.event_at]:
        return f"{DATA.event_at} is {row[DATA.event_at]}, the request's event_at {request.event_at}"
    return None
