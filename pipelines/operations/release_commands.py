"""`ontime promote`, `rollback`, `shadow`, `canary`, `withdraw`, `approve`: a person's decision on a release, recorded.

pipelines/operations/transitions.py moves the release; this module has the messages. Each function returns its message,
and raises ValueError if it is refused.
"""

import sys
from collections.abc import Callable

import sqlalchemy as sa

from ontime import database, files, locks, release
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines.operations import transitions
from pipelines.operations.promotion_checks import blocking_reasons
from pipelines.operations.transition_log import BY_HAND, MoveCause

CAUSE = MoveCause(BY_HAND, "requested by hand")


def promote(settings: Settings, version: str, *, force: bool = False) -> str:
    """Promote a published release. Raises TransitionRefused if a check blocks it, unless `force`."""
    _refuse_unpublished(settings, version)
    reason = transitions.promote(settings, _connect(settings), version, CAUSE, force=force)
    if reason is None:
        return f"release {version} is already live"
    return f"release {version} is live{'' if reason == CAUSE.reason else f': {reason}'}"


def roll_back(settings: Settings) -> str:
    return f"release {transitions.roll_back(settings, _connect(settings), CAUSE)} is live again"


def challenge(settings: Settings, version: str, share: float) -> str:
    """Let a published release score every entity, and serve a share of them. Warns of checks that block a promotion."""
    if not 0 <= share <= 1:
        raise ValueError(f"share {share:g} is not between 0 and 1")
    _refuse_unpublished(settings, version)
    engine = _connect(settings)
    reasons = blocking_reasons(engine, settings.releases, version) if share else None
    transitions.challenge(settings, engine, version, share, CAUSE._replace(reason=reasons) if reasons else CAUSE)
    mode = f"a canary: it serves {share:.1%}" if share else "in shadow mode: it serves none"
    warning = f". Warning: {reasons}" if reasons else ""
    return f"release {version} is {mode} of the {WORDS.entities}, and scores all of them{warning}"


def withdraw(settings: Settings) -> str:
    version = transitions.withdraw(settings, _connect(settings), CAUSE)
    return f"release {version} was withdrawn" if version else "no challenger to withdraw"


def approve(settings: Settings, version: str, reason: str) -> str:
    """Record who approves the promotion of a release, and why. It holds for exactly these files."""
    reason = reason.strip()
    if not reason:
        raise ValueError("the reason is empty")
    _refuse_unpublished(settings, version)
    release.verify(settings.releases / version)
    engine = _connect(settings)
    gate = database.last_decision(engine, "gate", version=version)
    evidence = {
        "version": version,
        "reason": reason,
        "manifest_sha256": files.digest(settings.releases / version / release.MANIFEST),
        "gate": gate.verdict if gate else None,
    }
    database.record_decision(engine, "approval", "approved", evidence, actor=settings.actor)
    warning = "" if gate and gate.verdict == "promote" else "; warning: the gate has not passed it"
    return f"release {version} is approved by {settings.actor}: {reason}{warning}"


def _refuse_unpublished(settings: Settings, version: str) -> None:
    published = release.published(settings.releases)
    if version not in published:
        raise ValueError(f"release {version} is not published; published releases: {', '.join(published) or 'none'}")


def _connect(settings: Settings) -> sa.Engine:
    return database.connect(settings.database_url)


def main(command: Callable[[Settings], str]) -> None:
    """Run one of these functions, and print its message; exits with the reason if it is refused."""
    try:
        print(f"release: {command(load_settings())}")
    except (ValueError, locks.Busy) as refused:
        sys.exit(f"release: {refused}")
