"""The requests of `make bench-soak`: what a busy service gets, in the shares of MIX."""

import random
from collections.abc import Sequence
from datetime import timedelta
from itertools import cycle
from pathlib import Path

import orjson
import sqlalchemy as sa

from bench import entities
from ontime import database_tables
from ontime.declaration import EntityRequest

CYCLE = 10_000  # requests, which the load generator repeats
ENTITIES = 5_000
LIST_ENTITIES = 20
REQUEST_ONLY_SHARE = 0.15  # of the entities: the online store has no row of them
SEED = 2013
# Kind of request, or the path of a GET -> its share.
MIX = {
    "single": 0.8198,
    "explained": 0.02,
    "list": 0.01,
    "outcome sent": 0.06,
    "search": 0.01,
    "entity": 0.02,
    "outcome": 0.01,
    "/health/live": 0.02,
    "/health/ready": 0.02,
    "/v1/model": 0.005,
    "/metrics": 0.005,
    "/v1/ops": 0.0002,  # one in some seconds, as an open page sends it
}


def remove_features(database_file: Path) -> None:
    """Leave REQUEST_ONLY_SHARE of the entities without a row of features."""
    engine = sa.create_engine(f"sqlite:///{database_file}")
    table = database_tables.features
    chosen = sa.func.abs(sa.func.random()) % 1000 < 1000 * REQUEST_ONLY_SHARE
    with engine.begin() as connection:
        connection.execute(sa.delete(table).where(chosen))
    engine.dispose()


def write_requests(path: Path) -> None:
    """One cycle of requests in random order, a line each, as soak.lua reads them."""
    requests = entities.evenly_spaced(ENTITIES)
    lines = {kind: cycle(_lines_of(kind, requests)) for kind in MIX}
    kinds = [kind for kind, share in MIX.items() for _ in range(round(share * CYCLE))]
    shuffler = random.Random(SEED)  # noqa: S311  the same order in each run
    shuffler.shuffle(kinds)
    path.write_text("".join(f"{next(lines[kind])}\n" for kind in kinds), encoding="utf-8")


def _lines_of(kind: str, requests: Sequence[EntityRequest]) -> list[str]:
    match kind:
        case "single":
            return [f"POST /v1/predictions {body}" for body in entities.single(requests)]
        case "explained":
            return [f"POST /v1/predictions?explain=true {body}" for body in entities.single(requests)]
        case "list":
            return [f"POST /v1/predictions {body}" for body in entities.lists(requests, LIST_ENTITIES, CYCLE)]
        case "outcome sent":
            return [f"POST /v1/outcomes {_outcome_of(each)}" for each in requests]
        case "search":
            return [f"GET /v1/entities?day={each.event_at.date()}&hour={each.event_at.hour}" for each in requests]
        case "entity" | "outcome":
            path = {"entity": "entities", "outcome": "outcomes"}[kind]
            return [f"GET /v1/{path}/{each.entity_id}" for each in requests]
        case path:
            return [f"GET {path}"]


def _outcome_of(entity: EntityRequest) -> str:
    known_at = entity.event_at + timedelta(days=1)
    return orjson.dumps({"entity_id": entity.entity_id, "label": False, "known_at": known_at}).decode()
