"""`make promote`, `rollback`, `shadow`, `canary`, `withdraw`, `approve`: a person's decision on a release, recorded.

    python -m pipelines.operations.release_commands promote 2
    python -m pipelines.operations.release_commands promote 2 force    ... despite the checks of promotion_checks.py
    python -m pipelines.operations.release_commands rollback
    python -m pipelines.operations.release_commands challenge 2 0.1
    python -m pipelines.operations.release_commands withdraw
    python -m pipelines.operations.release_commands approve 2 "reviewed the pack"

pipelines/operations/transitions.py moves the release; this module has the messages.
"""

import sys
from collections.abc import Sequence

import sqlalchemy as sa

from ontime import database, environment, files, locks, release
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines.operations import transitions
from pipelines.operations.promotion_checks import blocking_reasons
from pipelines.operations.transition_log import BY_HAND, MoveCause

CAUSE = MoveCause(BY_HAND, "requested by hand")
USAGE = "try: make promote VERSION=2 (FORCE=1), make rollback, make shadow VERSION=2, make canary VERSION=2 SHARE=0.1"


def _promote(settings: Settings, version: str, *, force: bool = False) -> str:
    """Promote a published release. Raises TransitionRefused if a check blocks it, unless `force`."""
    _refuse_unpublished(settings, version)
    reason = transitions.promote(settings, _connect(settings), version, CAUSE, force=force)
    if reason is None:
        return f"release {version} is already live"
    return f"release {version} is live{'' if reason == CAUSE.reason else f': {reason}'}"


def _roll_back(settings: Settings) -> str:
    return f"release {transitions.roll_back(settings, _connect(settings), CAUSE)} is live again"


def _challenge(settings: Settings, version: str, share: float) -> str:
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


def _withdraw(settings: Settings) -> str:
    version = transitions.withdraw(settings, _connect(settings), CAUSE)
    return f"release {version} was withdrawn" if version else "no challenger to withdraw"


def _approve(settings: Settings, version: str, reason: str) -> str:
    """Record who approves the promotion of a release, and why. It holds for exactly these files."""
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


def run(settings: Settings, arguments: Sequence[str]) -> str:
    """Run one command; returns its message. Raises ValueError if it is unknown or refused."""
    match arguments:
        case ["promote", version] if version:
            return _promote(settings, version)
        case ["promote", version, "force"] if version:
            return _promote(settings, version, force=True)
        case ["rollback"]:
            return _roll_back(settings)
        case ["withdraw"]:
            return _withdraw(settings)
        case ["approve", version, reason] if version and reason.strip():
            return _approve(settings, version, reason.strip())
        case ["challenge", version, share] if version:
            return _challenge(settings, version, float(share))
    raise ValueError(USAGE)


def main() -> None:
    try:
        print(f"release: {run(load_settings(), sys.argv[1:])}")
    except (ValueError, locks.Busy) as refused:
        sys.exit(f"release: {refused}")


if __name__ == "__main__":
    environment.enforce()
    main()
