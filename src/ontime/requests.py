"""A row of the entities' table as the request that a caller would send for it."""

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from pydantic import ValidationError

from ontime.datasets import KEY
from ontime.declaration import ENTITY_ID, EntityRequest
from ontime.problem import PROBLEM
from ontime.problem.data import DATA

TRIED_ROWS = 200


def request_of(row: pd.Series) -> EntityRequest:
    """A row of the entities' table as a request."""
    told = {name: row[name] for name in PROBLEM.request.model_fields}
    return PROBLEM.request.model_validate({name: _plain(value) for name, value in told.items()})


def _plain(value: object) -> object:
    """Python's own number, text or moment; None for what is missing."""
    if pd.isna(value):  # type: ignore[call-overload]  # one value of a row
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value.item() if isinstance(value, np.generic) else value


def differing(entities: pd.DataFrame) -> Iterator[str]:
    """Why rows are not the entities that a caller would ask about, tried on TRIED_ROWS of them, evenly spread.

    Else training would see entities that the service refuses, or knows by another key, and no outcome would meet its
    prediction.
    """
    chosen = entities.iloc[np.linspace(0, len(entities) - 1, min(TRIED_ROWS, len(entities))).astype(int)]
    for number, row in chosen.iterrows():
        if said := _refusal(row):
            yield f"{DATA.entities}: a request cannot be made of row {number}, {KEY} {row[KEY]!r}: {said}"
            return


def _refusal(row: pd.Series) -> str | None:
    try:
        request = request_of(row)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']} (got {first['input']!r})"
    if request.entity_id != row[KEY]:
        return f"the request's own is {request.entity_id!r}"
    if not re.fullmatch(ENTITY_ID, request.entity_id):
        return f"it may have letters, digits and _.:+- only: {ENTITY_ID}"
    if request.event_at != row[DATA.event_at]:
        return f"{DATA.event_at} is {row[DATA.event_at]}, the request's event_at {request.event_at}"
    return None
