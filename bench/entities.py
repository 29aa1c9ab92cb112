"""What the servers are asked: real entities of the online store, as our request's body or as the model's own rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import sqlalchemy as sa

from ontime import database_tables, online, online_store, release_pointer
from ontime.declaration import EntityRequest
from ontime.problem import PROBLEM
from ontime.release import Release

DATABASE = Path("var/ontime.db")
RELEASES = Path("releases")


def spread(most: int) -> list[EntityRequest]:
    """So many entities of the store, evenly over its days, in order of their event time."""
    table = database_tables.entities
    wanted = sa.select(*(table.c[name] for name in PROBLEM.request.model_fields)).order_by(table.c.event_at)
    with _engine().connect() as connection:
        rows = connection.execute(wanted).all()
    if not rows:
        raise SystemExit(f"bench: {DATABASE} holds no entities; run `make train`")
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int).tolist()
    return [PROBLEM.request(**rows[place]._mapping) for place in places]


def current_release() -> Release:
    return release_pointer.load_live(RELEASES)


def stored(entities: Sequence[EntityRequest]) -> list[online_store.Stored]:
    """The online store's rows of entities that are all in it."""
    found = online_store.look_up_features(
        _engine(), current_release().manifest.question, [entity.entity_id for entity in entities]
    )
    return [found[entity.entity_id] for entity in entities]


def single(entities: Sequence[EntityRequest]) -> list[str]:
    """One body an entity."""
    return [entity.model_dump_json() for entity in entities]


def lists(entities: Sequence[EntityRequest], size: int, most: int) -> list[str]:
    """At most so many bodies, each with that many entities."""
    begins = range(0, len(entities) - size + 1, size)[:most]
    return [f"[{','.join(single(entities[begin : begin + size]))}]" for begin in begins]


def rows(entities: Sequence[EntityRequest], field: str) -> list[str]:
    """One body an entity: `{field: [[...]]}` with the model's input as the service would build it; null is missing."""
    matrix = online.request_matrix(entities, [each.online for each in stored(entities)], current_release())
    # orjson writes a float32 with its own few digits, and NaN as null; Python would write 17 digits.
    return [
        orjson.dumps({field: matrix[[place]]}, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        for place in range(len(entities))
    ]


def _engine() -> sa.Engine:
    return sa.create_engine(f"sqlite:///{DATABASE}")
