"""The requests of the benchmarks: real entities of the online store, as our request bodies or as rows of features."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import orjson
import sqlalchemy as sa

from ontime import database, database_tables, online, online_store, release_pointer
from ontime.declaration import EntityRequest
from ontime.problem import PROBLEM
from ontime.release import Release

DATABASE = Path("var/ontime.db")
RELEASES = Path("releases")
COPIED_AT_ONCE = 5_000  # rows


def evenly_spaced(most: int) -> list[EntityRequest]:
    """At most so many entities of the store, evenly spaced in the order of their event times."""
    table = database_tables.entities
    query = sa.select(*(table.c[name] for name in PROBLEM.request.model_fields)).order_by(table.c.event_at)
    with engine().connect() as connection:
        rows = connection.execute(query).all()
    if not rows:
        raise SystemExit(f"bench: {DATABASE} holds no entities; run `make train`")
    places = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int).tolist()
    return [PROBLEM.request(**rows[place]._mapping) for place in places]


def current_release() -> Release:
    return release_pointer.load_live(RELEASES)


def stored(entities: Sequence[EntityRequest]) -> list[online_store.Stored]:
    """The online store's rows of these entities, all of which must be in it."""
    rows = online_store.look_up_features(
        engine(), current_release().manifest.question, [entity.entity_id for entity in entities]
    )
    return [rows[entity.entity_id] for entity in entities]


def single(entities: Sequence[EntityRequest]) -> list[str]:
    """One request body per entity."""
    return [entity.model_dump_json() for entity in entities]


def lists(entities: Sequence[EntityRequest], size: int, most: int) -> list[str]:
    """At most `most` request bodies of `size` entities each."""
    starts = range(0, len(entities) - size + 1, size)[:most]
    return [f"[{','.join(single(entities[start : start + size]))}]" for start in starts]


def model_rows(entities: Sequence[EntityRequest], field: str) -> list[str]:
    """One body per entity: `{field: [[...]]}` with the model's input as the service builds it; null is missing."""
    matrix = online.request_matrix(entities, [each.online for each in stored(entities)], current_release())
    # orjson writes a float32 in its shortest form and NaN as null; Python's json would write 17 digits.
    return [
        orjson.dumps({field: matrix[[place]]}, option=orjson.OPT_SERIALIZE_NUMPY).decode()
        for place in range(len(entities))
    ]


def copy_features(url: str) -> None:
    """Fill another database with the features of this folder's online store."""
    target, table = database.connect(url), database_tables.features
    with engine().connect() as source:
        rows = [row._asdict() for row in source.execute(sa.select(table))]
    for start in range(0, len(rows), COPIED_AT_ONCE):
        database.execute(target, sa.insert(table), rows[start : start + COPIED_AT_ONCE])
    target.dispose()


def engine() -> sa.Engine:
    """Of this folder's online store."""
    return sa.create_engine(f"sqlite:///{DATABASE}")
