"""The rows in `decisions` about moves of a release: writes them, and finds a move interrupted before its row."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple, Self

import sqlalchemy as sa

from ontime import database
from ontime.actors import current_actor
from ontime.release_pointer import Pointer

PROMOTION, ROLLBACK, CHALLENGE = "promotion", "rollback", "challenge"  # the kinds of rows
BY_HAND, BY_POLICY, BY_TRAINING, FORCED, INTERRUPTED = "by hand", "by the policy", "published", "forced", "interrupted"

DECIDERS = {BY_POLICY: "policy", BY_TRAINING: "training"}  # in any other move a person decides


class MoveCause(NamedTuple):
    """Who moves a release and why, for the row in `decisions`."""

    by: str
    reason: str
    about: Mapping[str, str] = MappingProxyType({})
    at: datetime | None = None  # on the feed's clock; None: now


class Roles(NamedTuple):
    """Champion, challenger and its share of the traffic: in the pointer, and repeated in every row."""

    champion: str
    challenger: str | None
    share: float | None

    @classmethod
    def of(cls, pointer: Pointer) -> Self:
        challenger = pointer.challenger
        return cls(pointer.version, *((challenger.version, challenger.share) if challenger else (None, None)))


class Move(NamedTuple):
    """One move of a release. A challenge without a share is a withdrawal; `left` is the version rolled back from."""

    kind: str
    version: str
    share: float | None = None
    left: str | None = None

    @property
    def is_withdrawal(self) -> bool:
        return self.kind == CHALLENGE and self.share is None

    def verdict(self, by: str) -> str:
        if self.kind == CHALLENGE:
            return "withdrawn" if self.share is None else f"share {self.share:g}"
        return f"from {self.left}" if self.kind == ROLLBACK and by != BY_POLICY else by


def record_move(engine: sa.Engine, move: Move, cause: MoveCause, pointer: Pointer, actor: str | None = None) -> None:
    """Append the row that marks a move as complete; `pointer` is the pointer after it.

    `actor` is who runs this process; the policy and a training name themselves before it.
    """
    actor = actor or current_actor()
    evidence = {"version": move.version, **cause.about, **Roles.of(pointer)._asdict(), "reason": cause.reason}
    decider = DECIDERS.get(cause.by)
    named = f"{decider} ({actor})" if decider else actor
    database.record_decision(engine, move.kind, move.verdict(cause.by), evidence, cause.at, named)


def is_recorded(engine: sa.Engine, pointer: Pointer) -> bool:
    """Whether the last row about a move has the roles of this pointer."""
    return _last_roles(engine) == Roles.of(pointer)


def interrupted_move(engine: sa.Engine, pointer: Pointer | None) -> Move | None:
    """The move from the last row's roles to the pointer's; None if they agree, or no row has roles."""
    before = _last_roles(engine)
    if pointer is None or before is None or before == Roles.of(pointer):
        return None
    now = Roles.of(pointer)
    if before.champion == now.champion:
        return Move(CHALLENGE, now.challenger or before.challenger or "", now.share)
    # Only a rollback appends the former champion to this list.
    if pointer.rolled_back[-1:] == (before.champion,):
        return Move(ROLLBACK, pointer.version, left=before.champion)
    return Move(PROMOTION, pointer.version)


def trial_start(engine: sa.Engine, pointer: Pointer) -> sa.Row[Any] | None:
    """The decision that began the comparison of champion and challenger; None if there is none on record."""
    if pointer.challenger is None:
        return None
    if is_watched_by_predecessor(pointer):
        return database.last_decision(engine, PROMOTION, version=pointer.version)
    return database.last_decision(engine, CHALLENGE, version=pointer.challenger.version)


def is_watched_by_predecessor(pointer: Pointer) -> bool:
    """Whether the challenger is the previous champion, which shadows a new one for some days."""
    return pointer.challenger is not None and pointer.history[-1:] == (pointer.challenger.version,)


def _last_roles(engine: sa.Engine) -> Roles | None:
    """The roles in the last row about a move; None if there is no row, or it predates the roles in rows."""
    rows = [database.last_decision(engine, kind) for kind in (PROMOTION, ROLLBACK, CHALLENGE)]
    last = max((row for row in rows if row is not None), key=lambda row: int(row.decision_id), default=None)
    if last is None or "champion" not in last.evidence:
        return None
    return Roles(*(last.evidence[name] for name in Roles._fields))
