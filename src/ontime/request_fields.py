"""The fields of a problem's request: their types, their choices, and requests as arrays."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
from pydantic import AwareDatetime

from ontime.declaration import Columns, EntityRequest, ProblemBroken

EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


def arrays_of(entities: Sequence[EntityRequest], kinds: Mapping[str, type]) -> Columns:
    """The fields of requests as arrays, as `request_features` takes them; times in UTC, without a zone."""
    columns = {}
    for name, kind in kinds.items():
        values = [getattr(entity, name) for entity in entities]
        if kind is datetime:
            # Whole numbers, because numpy takes much longer to convert datetimes.
            columns[name] = np.array([(each - EPOCH) // MICROSECOND for each in values], "datetime64[us]")
        else:
            columns[name] = np.array(values, dtype=object if kind is str else None)
    return columns


def kind_of(annotation: Any) -> type:
    """The plain type behind a field's annotation: str, int, float, bool or datetime. Raises ProblemBroken.

    >>> kind_of(Annotated[float | None, "hours"]), kind_of(Literal["north", "south"])
    (<class 'float'>, <class 'str'>)
    """
    inner = [part for part in get_args(annotation) if part is not type(None)]
    if inner and get_origin(annotation) is Literal:
        annotation = type(inner[0])
    elif inner and get_origin(annotation) in (Annotated, Union, UnionType):
        return kind_of(inner[0])  # the other arguments are metadata, or None
    if annotation is AwareDatetime:
        return datetime
    for kind in (bool, int, float, str, datetime):
        if isinstance(annotation, type) and issubclass(annotation, kind):
            return kind
    raise ProblemBroken(f"a field of a request is a str, int, float, bool or datetime, not {annotation}")


def choices_of(annotation: Any) -> tuple[str | int, ...]:
    """The values that a field may have, if its annotation lists them: a Literal (also nested or optional) or a bool.

    >>> choices_of(Literal["north", "south"] | None), choices_of(bool), choices_of(str)
    (('north', 'south'), (False, True), ())
    """
    if annotation is bool:
        return (False, True)
    if get_origin(annotation) is Literal:
        return tuple(value for value in get_args(annotation) if value is not None)
    if get_origin(annotation) in (Annotated, Union, UnionType):
        return tuple(value for part in get_args(annotation) for value in choices_of(part))
    return ()
