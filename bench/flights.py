"""What the servers are asked: real flights of the online store, as our request's body or as the model's own rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import sqlalchemy as sa

from ontime import database, online, release
from ontime.release import Release
from ontime.schema import Flight

DATABASE = Path("var/ontime.db")
RELEASES = Path("releases")


def spread(most: int) -> list[Flight]:
    """So many flights of the store, evenly over its days, in order of departure."""
    table = database.flights
    wanted = sa.select(*(table.c[name] for name in Flight.model_fields)).order_by(table.c.scheduled_departure)
    with _engine().connect() as connection:
        rows = connection.execute(wanted).all()
    if not rows:
        raise SystemExit(f"bench: {DATABASE} holds no flights; run `make train`")
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int).tolist()
    return [Flight(**rows[place]._mapping) for place in places]


def current_release() -> Release:
    return release.load_current(RELEASES)


def stored(flights: Sequence[Flight]) -> list[database.Stored]:
    """The online store's rows of flights that are all in it."""
    found = database.look_up_features(_engine(), current_release().manifest.question, [flight.id for flight in flights])
    return [found[flight.id] for flight in flights]


def single(flights: Sequence[Flight]) -> list[str]:
    """One body a flight."""
    return [flight.model_dump_json() for flight in flights]


def lists(flights: Sequence[Flight], size: int, most: int) -> list[str]:
    """At most so many bodies, each with that many flights."""
    begins = range(0, len(flights) - size + 1, size)[:most]
    return [f"[{','.join(single(flights[begin : begin + size]))}]" for begin in begins]


def rows(flights: Sequence[Flight], field: str) -> list[str]:
    """One body a flight: `{field: [[...]]}` with the model's input as the service would build it; null is missing."""
    matrix = online.matrix_of(flights, [each.vector for each in stored(flights)], current_release())
    # orjson writes a float32 with its own few digits, and NaN as null; Python would write 17 digits.
    return [
        orjson.dumps({field: matrix[[place]]}, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        for place in range(len(flights))
    ]


def _engine() -> sa.Engine:
    return sa.create_engine(f"sqlite:///{DATABASE}")
