"""The table `decisions` as a hash chain: each row contains a digest of its content and of the row before it.

A row that is changed, deleted, inserted or moved later no longer fits to its neighbours, and `breaks` names it. A chain
does not prove who wrote a row: a person who can write to the table can compute the whole chain again. A copy of the
last digest, kept outside of the database, shows that too, and rows deleted at the end.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import sqlalchemy as sa

from ontime.database_tables import decisions

BEGINNING = "0" * 64  # stands for the digest of the row before the first
LOCK_KEY = 7_310_579_626  # of PostgreSQL's advisory lock; any number that no other program uses


class Break(NamedTuple):
    """A row that does not fit into the chain; for a deleted row, the id that is missing."""

    decision_id: int
    reason: str


@contextmanager
def exclusive_transaction(engine: sa.Engine, key: int = LOCK_KEY) -> Iterator[sa.Connection]:
    """A transaction that no other one with this key overlaps, in any process that uses the database."""
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
        yield connection


def link(previous: str, row: Mapping[str, Any]) -> str:
    """The digest of a row that follows the row with the digest `previous`.

    >>> row = {"decided_at": datetime(2013, 5, 1, tzinfo=UTC), "kind": "gate", "verdict": "promote", "actor": None}
    >>> link(BEGINNING, {**row, "evidence": {"version": "2"}})[:12]
    '16e6fd86d468'
    """
    decided_at: datetime = row["decided_at"]
    content = [
        previous,
        decided_at.astimezone(UTC).isoformat(timespec="microseconds"),
        row["kind"],
        row["verdict"],
        row["actor"],
        json.loads(json.dumps(row["evidence"])),  # as it is read from the database: lists, not tuples
    ]
    return sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def append(connection: sa.Connection, row: Mapping[str, Any]) -> None:
    """Insert a row of `decisions` as the next link. Only inside `exclusive_transaction`: two writers would fork it."""
    latest = sa.select(decisions.c.chain).order_by(decisions.c.decision_id.desc()).limit(1)
    previous = connection.execute(latest).scalar() or BEGINNING
    connection.execute(sa.insert(decisions), {**row, "chain": link(previous, row)})


def chain_existing_rows(connection: sa.Connection) -> None:
    """Chain the rows of a table that an earlier version has made. Only inside `exclusive_transaction`."""
    previous = BEGINNING
    columns = [decisions.c[name] for name in ("decision_id", "decided_at", "kind", "verdict", "actor", "evidence")]
    for row in connection.execute(sa.select(*columns).order_by(decisions.c.decision_id)).all():
        previous = link(previous, row._asdict())
        same = decisions.c.decision_id == row.decision_id
        connection.execute(sa.update(decisions).where(same).values(chain=previous))


def all_rows(engine: sa.Engine) -> Sequence[sa.Row[Any]]:
    """Every decision, oldest first, as it is stored."""
    with engine.connect() as connection:
        return connection.execute(sa.select(decisions).order_by(decisions.c.decision_id)).all()


def head(rows: Sequence[sa.Row[Any]]) -> str:
    """The digest of the last row: note it elsewhere, and `make audit HEAD=...` finds rows deleted at the end."""
    return (rows[-1].chain or BEGINNING) if rows else BEGINNING


def breaks(rows: Sequence[sa.Row[Any]]) -> list[Break]:
    """The rows that were changed, deleted, inserted or moved since they were written, in order of their ids."""
    places = {row.chain: place for place, row in enumerate(rows) if row.chain} | {BEGINNING: -1}
    reasons: dict[int, str] = {}
    for place, row in enumerate(rows):
        before = rows[place - 1].chain or BEGINNING if place else BEGINNING
        if row.chain is None:
            reasons[row.decision_id] = (
                "was inserted: it has no digest (an earlier version of this project writes such rows too)"
            )
        elif row.chain != link(before, row._asdict()):
            predecessor = next((places[each] for each in places if row.chain == link(each, row._asdict())), None)
            reasons |= _explained(rows, place, predecessor, reasons)
    return [Break(*each) for each in sorted(reasons.items())]


def _explained(
    rows: Sequence[sa.Row[Any]], place: int, predecessor: int | None, earlier: Mapping[int, str]
) -> dict[int, str]:
    """Why a row does not continue the row before it. `predecessor`: the place of the row that it does continue."""
    row, last_id = rows[place], rows[place - 1].decision_id if place else 0
    if predecessor is None:
        if row.decision_id > last_id + 1:
            missing = range(last_id + 1, row.decision_id)
            return dict.fromkeys(missing, f"was deleted; or row {row.decision_id}, the next one, was changed")
        return {row.decision_id: "was changed, or the digest of the row before it"}
    follows = f"row {rows[predecessor].decision_id}" if predecessor >= 0 else "the beginning"
    if predecessor > place:
        return {row.decision_id: f"was moved: it was written after {follows}"}
    between = {
        each.decision_id: f"was inserted or moved: row {row.decision_id} was written directly after {follows}"
        for each in rows[predecessor + 1 : place]
        if each.decision_id not in earlier
    }
    return between or {row.decision_id: f"was moved: it was written directly after {follows}"}
