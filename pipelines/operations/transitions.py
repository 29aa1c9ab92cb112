"""The one place that moves a release: promote, challenge, withdraw, roll back.

Each move takes the same steps: the pointer, MLflow's aliases, and last the row in `decisions`, which marks the move as
complete. If a move was interrupted between two steps, the same command completes it, and any other command records it
before its own move. docs/decisions/32 has the reasons.
"""

import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from types import MappingProxyType

import sqlalchemy as sa

from ontime import locks, online, release, release_pointer
from ontime.release_pointer import Pointer
from ontime.settings import Settings
from pipelines.operations import transition_log
from pipelines.operations.promotion_checks import blocking_reasons, gate_rejection, missing_approval
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
    """A check blocks the promotion of a release; the message says which, and how to override it."""


class ApprovalMissing(TransitionRefused):
    """`policy.approval_required` is true, and nobody has approved the release; the message names the command."""


def promote(
    settings: Settings, engine: sa.Engine, version: str, cause: MoveCause, *, watched: bool = False, force: bool = False
) -> str | None:
    """Make a published release the champion. Returns the recorded reason; None if there was nothing to do.

    With `watched`, only if `version` is the challenger; the old champion then challenges it. Raises ReleaseRefused for
    a release that no service would load, and TransitionRefused if a check blocks it, unless `force`. ApprovalMissing
    is raised despite `force`: `make approve` is the way past it, and names a person.
    """
    with _in_turn(settings):
        move = Move(PROMOTION, version)
        _resume(settings, engine, cause, move.__eq__)
        pointer = release_pointer.read_pointer(settings.releases)
        is_live = pointer is not None and pointer.version == version
        if watched and not is_live and not _challenges(pointer, version):
            return None
        _verify_probes(settings, version)
        if is_live and pointer is not None and transition_log.is_recorded(engine, pointer):
            _align_mlflow(settings, pointer)
            return None
        if not is_live and (missing := missing_approval(engine, settings.releases, version)):
            raise ApprovalMissing(missing)
        reasons = _blocking_reasons(settings, engine, version, cause)
        if reasons and not (force or is_live):
            override = f"make promote VERSION={version} FORCE=1 promotes it anyway"
            raise TransitionRefused(f"release {version} is not promoted: {reasons}; {override}")
        release_pointer.set_live(settings.releases, version, watched=watched)
        if reasons:
            by, reason = (FORCED, "forced by hand") if force else (cause.by, cause.reason)
            cause = cause._replace(by=by, reason=f"{reason}; {reasons}")
        _finish(settings, engine, move, cause)
        return cause.reason


def challenge(settings: Settings, engine: sa.Engine, version: str, share: float, cause: MoveCause) -> bool:
    """Make a published release the challenger, which serves a share (0: shadow mode). Returns False if it is already.

    A release that the gate rejected may challenge, so that it can be compared on traffic. Raises ReleaseRefused.
    """
    with _in_turn(settings):
        move = Move(CHALLENGE, version, share)
        _resume(settings, engine, cause, move.__eq__)
        _verify_probes(settings, version)
        pointer = release_pointer.read_pointer(settings.releases)
        if pointer is None or Roles.of(pointer)[1:] != (version, share):
            release_pointer.set_challenger(settings.releases, version, share)
        elif transition_log.is_recorded(engine, pointer):
            _align_mlflow(settings, pointer)
            return False
        _finish(settings, engine, move, cause)
        return True


def withdraw(settings: Settings, engine: sa.Engine, cause: MoveCause, version: str | None = None) -> str | None:
    """End shadow or canary; with `version`, only of that release. Returns the former challenger, or None."""
    with _in_turn(settings):
        move = _resume(settings, engine, cause, lambda each: each.is_withdrawal and version in (None, each.version))
        if move is None:
            pointer = release_pointer.read_pointer(settings.releases)
            if pointer is None or pointer.challenger is None or version not in (None, pointer.challenger.version):
                return None
            move = Move(CHALLENGE, pointer.challenger.version)
            release_pointer.set_challenger(settings.releases, None)
        _finish(settings, engine, move, cause)
        return move.version


def roll_back(settings: Settings, engine: sa.Engine, cause: MoveCause, to: str | None = None) -> str | None:
    """Make the previous champion the champion again; with `to`, only if it is that version.

    Returns its version, or None if the previous champion is another one. Raises NoRelease if there is none.
    """
    with _in_turn(settings):
        move = _resume(settings, engine, cause, lambda each: each.kind == ROLLBACK and to in (None, each.version))
        if move is None:
            pointer = release_pointer.read_pointer(settings.releases)
            if to is not None and (pointer is None or pointer.history[-1:] != (to,)):
                return None
            left = pointer.version if pointer else None
            move = Move(ROLLBACK, release_pointer.revert(settings.releases), left=left)
        _finish(settings, engine, move, cause)
        return move.version


def _in_turn(settings: Settings) -> AbstractContextManager[None]:
    release.make_folder(settings.releases)
    return locks.wait_and_hold(settings.releases / LOCK, "move of a release")


def _resume(settings: Settings, engine: sa.Engine, cause: MoveCause, is_own: Callable[[Move], bool]) -> Move | None:
    """The interrupted move, if this is the same command; a move of another command is recorded instead."""
    move = transition_log.interrupted_move(engine, release_pointer.read_pointer(settings.releases))
    if move is None or is_own(move):
        return move
    reason = "the pointer shows this move; its process ended before it was recorded"
    _finish(settings, engine, move, MoveCause(INTERRUPTED, reason, at=cause.at))
    return None


def _challenges(pointer: Pointer | None, version: str) -> bool:
    return pointer is not None and pointer.challenger is not None and pointer.challenger.version == version


def _blocking_reasons(settings: Settings, engine: sa.Engine, version: str, cause: MoveCause) -> str | None:
    """Why the gate blocks the promotion; for a promotion by hand, the other checks too."""
    if cause.by == BY_HAND:
        return blocking_reasons(engine, settings.releases, version)
    return gate_rejection(engine, version)


def _verify_probes(settings: Settings, version: str) -> None:
    try:
        online.check_probes(release.load(settings.releases, version))
    except release.ReleaseRefused as error:
        raise release.ReleaseRefused(
            f"{error}. The release is broken and no service would load it, so FORCE=1 does not help"
        ) from None


def _finish(settings: Settings, engine: sa.Engine, move: Move, cause: MoveCause) -> None:
    """The steps after the pointer has moved."""
    pointer = release_pointer.read_pointer(settings.releases)
    if pointer is None:
        raise release_pointer.NoRelease(
            f"{settings.releases / release_pointer.POINTER} was deleted during a move; repeat the command"
        )
    day = cause.about.get("day", f"{cause.at or datetime.now(UTC):%Y-%m-%d}")
    _align_mlflow(settings, pointer, move.version, {f"{move.kind}.{day}": move.verdict(cause.by)})
    transition_log.record_move(engine, move, cause, pointer, settings.actor)


def _align_mlflow(
    settings: Settings, pointer: Pointer, version: str = "", tags: Mapping[str, str] = MappingProxyType({})
) -> None:
    """Set both aliases to the pointer's roles, and tag `version`. An error of MLflow is printed; the move continues."""
    from ontime import registry  # here: importing it takes seconds, and most refusals come before

    roles = Roles.of(pointer)
    try:
        client = registry.tracking_client(settings.tracking_url, settings.artifacts)
        registry.set_aliases(client, {registry.CHAMPION: roles.champion, registry.CHALLENGER: roles.challenger})
        registry.tag_version(client, version, tags)
    except registry.NotRecorded as error:
        print(f"transitions: {error}", file=sys.stderr)
