"""The one place that moves a release: promote, challenge, withdraw, roll back.

Each move takes the same steps: the pointer, MLflow's aliases, and last the row in `decisions`, which marks the move as
complete. The same command, run again, completes a move that was cut off between two steps; any other command puts it
on record before it makes its own. docs/decisions/32 has the reasons.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import MappingProxyType

import sqlalchemy as sa

from ontime import locks, online, release
from ontime.release import Pointer
from ontime.settings import Settings
from pipelines.operations import transition_log
from pipelines.operations.promotion_checks import blocking_reasons, gate_rejection
from pipelines.operations.transition_log import (
    BY_HAND,
    CHALLENGE,
    FORCED,
    INTERRUPTED,
    PROMOTION,
    ROLLBACK,
    Move,
    MoveCause,
    Roles,
)

LOCK = ".transition.lock"


class TransitionRefused(ValueError):
    """A release that could be promoted and should not be; the message says why, and how to insist."""


def promote(
    settings: Settings, engine: sa.Engine, version: str, cause: MoveCause, *, watched: bool = False, force: bool = False
) -> str | None:
    """Let a published release serve traffic. Returns the recorded reason; None if there was nothing to do.

    `watched`: only while `version` challenges, and its predecessor then challenges in its place. Raises ReleaseRefused
    for a release that no service would load, and Refused for one with an objection, unless `force` overrules that.
    """
    with _in_turn(settings):
        move = Move(PROMOTION, version)
        _resume(settings, engine, cause, move.__eq__)
        pointer = release.read_pointer(settings.releases)
        serves = pointer is not None and pointer.version == version
        if watched and not serves and not _challenges(pointer, version):
            return None
        _verify_probes(settings, version)
        if serves and pointer is not None and transition_log.is_recorded(engine, pointer):
            _align_mlflow(settings, pointer)
            return None
        against = _blocking_reasons(settings, engine, version, cause)
        if against and not (force or serves):
            insist = f"make promote VERSION={version} FORCE=1 promotes it anyway"
            raise TransitionRefused(f"{against}. It stays as it is; {insist}")
        release.point(settings.releases, version, watched=watched)
        if against:
            by, reason = (FORCED, "forced by hand") if force else (cause.by, cause.reason)
            cause = cause._replace(by=by, reason=f"{reason}; {against}")
        _finish(settings, engine, move, cause)
        return cause.reason


def challenge(settings: Settings, engine: sa.Engine, version: str, share: float, cause: MoveCause) -> bool:
    """Let a published release score in the shadow and answer a share. Returns False if it does already.

    What the gate kept out may challenge: that is how it is compared. Raises ReleaseRefused.
    """
    with _in_turn(settings):
        move = Move(CHALLENGE, version, share)
        _resume(settings, engine, cause, move.__eq__)
        _verify_probes(settings, version)
        pointer = release.read_pointer(settings.releases)
        if pointer is None or Roles.of(pointer)[1:] != (version, share):
            release.challenge(settings.releases, version, share)
        elif transition_log.is_recorded(engine, pointer):
            _align_mlflow(settings, pointer)
            return False
        _finish(settings, engine, move, cause)
        return True


def withdraw(settings: Settings, engine: sa.Engine, cause: MoveCause, version: str | None = None) -> str | None:
    """End shadow and canary, of `version` only where one is named. Returns the version that challenged, or None."""
    with _in_turn(settings):
        move = _resume(settings, engine, cause, lambda each: each.is_withdrawal and version in (None, each.version))
        if move is None:
            pointer = release.read_pointer(settings.releases)
            if pointer is None or pointer.challenger is None or version not in (None, pointer.challenger.version):
                return None
            move = Move(CHALLENGE, pointer.challenger.version)
            release.challenge(settings.releases, None)
        _finish(settings, engine, move, cause)
        return move.version


def roll_back(settings: Settings, engine: sa.Engine, cause: MoveCause, to: str | None = None) -> str | None:
    """Let the release before the current one serve traffic again; with `to`, only if it is that one.

    Returns its version, or None if another one comes before. Raises NoRelease if there is none.
    """
    with _in_turn(settings):
        move = _resume(settings, engine, cause, lambda each: each.kind == ROLLBACK and to in (None, each.version))
        if move is None:
            pointer = release.read_pointer(settings.releases)
            if to is not None and (pointer is None or pointer.history[-1:] != (to,)):
                return None
            left = pointer.version if pointer else None
            move = Move(ROLLBACK, release.roll_back(settings.releases), left=left)
        _finish(settings, engine, move, cause)
        return move.version


def _in_turn(settings: Settings) -> AbstractContextManager[None]:
    return locks.in_turn(settings.releases / LOCK, "move of a release")


def _resume(settings: Settings, engine: sa.Engine, cause: MoveCause, is_own: Callable[[Move], bool]) -> Move | None:
    """The move that was cut off, if this command is its own; that of another one is put on record instead."""
    move = transition_log.interrupted_move(engine, release.read_pointer(settings.releases))
    if move is None or is_own(move):
        return move
    why = "the pointer shows this move; the process that made it ended before it was on record"
    _finish(settings, engine, move, MoveCause(INTERRUPTED, why, at=cause.at))
    return None


def _challenges(pointer: Pointer | None, version: str) -> bool:
    return pointer is not None and pointer.challenger is not None and pointer.challenger.version == version


def _blocking_reasons(settings: Settings, engine: sa.Engine, version: str, cause: MoveCause) -> str | None:
    """The gate's verdict; for a person also the rest of the evidence, which policy and training look at themselves."""
    if cause.by == BY_HAND:
        return blocking_reasons(engine, settings.releases, version)
    return gate_rejection(engine, version)


def _verify_probes(settings: Settings, version: str) -> None:
    try:
        online.prove(release.load(settings.releases, version))
    except release.ReleaseRefused as broken:
        raise release.ReleaseRefused(
            f"{broken}. The release is broken and every service would refuse it, so FORCE=1 does not help"
        ) from None


def _finish(settings: Settings, engine: sa.Engine, move: Move, cause: MoveCause) -> None:
    """The steps after the pointer has moved."""
    pointer = release.read_pointer(settings.releases)
    if pointer is None:
        raise release.NoRelease(f"{settings.releases / release.POINTER} is gone in the middle of a move")
    day = cause.about.get("day", f"{cause.at or datetime.now(UTC):%Y-%m-%d}")
    _align_mlflow(settings, pointer, move.version, {f"{move.kind}.{day}": move.verdict(cause.by)})
    transition_log.record_move(engine, move, cause, pointer)


def _align_mlflow(
    settings: Settings, pointer: Pointer, version: str = "", tags: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Set both aliases as the pointer says, and tag `version`. Without MLflow, a move goes on and says so."""
    from ontime import registry  # here, because it takes seconds and most refusals come before

    roles = Roles.of(pointer)
    try:
        client = registry.connect(settings.tracking_url, settings.artifacts)
        registry.crown(client, {registry.CHAMPION: roles.champion, registry.CHALLENGER: roles.challenger})
        registry.note(client, version, tags)
    except registry.NotRecorded as error:
        print(f"transitions: {error}", file=sys.stderr)
