"""`make promote`, `rollback`, `shadow`, `canary`, `withdraw`: which release answers, moved by hand and written down.

    python -m pipelines.release promote 2
    python -m pipelines.release promote 2 force      ... whatever pipelines/objection.py has against it
    python -m pipelines.release rollback
    python -m pipelines.release challenge 2 0.1
    python -m pipelines.release withdraw

The pointer moves first, because that is what production follows; the log of decisions and MLflow's alias after it.
"""

import sys
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from ontime import database, environment, locks, online, release
from ontime.schema import WORDS
from ontime.settings import Settings, load_settings
from pipelines.objection import objection

BY_HAND = {"reason": "asked for by hand"}
USAGE = "try: make promote VERSION=2 (FORCE=1), make rollback, make shadow VERSION=2, make canary VERSION=2 SHARE=0.1"


class Refused(ValueError):
    """A release that could be promoted and should not be; the message says why, and how to insist."""


def promote(settings: Settings, version: str, *, force: bool = False) -> str:
    """Let a published release answer. Raises ReleaseRefused for one that no service would load, Refused for one that
    should not: `force` promotes it anyway, and the record says so. Promoting it again changes nothing."""
    _refuse_unproven(settings, version)
    engine = _connect(settings)
    pointer = release.read_pointer(settings.releases)
    against = objection(engine, settings.releases, version)
    moved = pointer is not None and pointer.version == version
    if moved and _recorded(engine, version):
        _crown(settings, version)  # MLflow may have been away the first time
        return f"release {version} answers already"
    if against and not (force or moved):
        raise Refused(f"{against}. It stays as it is; make promote VERSION={version} FORCE=1 promotes it anyway")
    release.point(settings.releases, version)
    if against and force:
        _write_down(settings, version, "promotion", "forced", {"reason": f"forced by hand; {against}"})
        return f"release {version} answers from now on, by FORCE=1: {against}"
    # It may answer without a record, where a promotion was cut off or the decisions were lost.
    why = {"reason": f"{BY_HAND['reason']}; {against}"} if against else BY_HAND
    _write_down(settings, version, "promotion", "by hand", why)
    return f"release {version} answers from now on"


def _recorded(engine: sa.Engine, version: str) -> bool:
    """Whether the last move that is on record led to `version`: a promotion that was cut off is not."""
    moves = [database.last_decision(engine, kind) for kind in ("promotion", "rollback")]
    last = max((row for row in moves if row is not None), key=lambda row: row.decision_id, default=None)
    return last is not None and last.evidence["version"] == version


def roll_back(settings: Settings) -> str:
    left = release.current(settings.releases)
    version = release.roll_back(settings.releases)
    _write_down(settings, version, "rollback", f"from {left.version if left else 'nothing'}", BY_HAND)
    return f"release {version} answers again"


def challenge(settings: Settings, version: str, share: float) -> str:
    """Let a published release score every entity in the shadow, and answer a share of them.

    A release that the gate kept out may challenge: that is how it is compared. What is known against it is said.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share {share:g} is not between 0 and 1")
    _refuse_unproven(settings, version)
    release.challenge(settings.releases, version, share)
    against = objection(_connect(settings), settings.releases, version) if share else None
    _decide(settings, "challenge", f"share {share:g}", version, {"reason": against} if against else BY_HAND)
    answered = f"{share:.1%} of them" if share else "none"
    warning = f". Mind that {against}" if against else ""
    return f"release {version} scores every {WORDS.entity} in the shadow, and answers {answered}{warning}"


def _refuse_unproven(settings: Settings, version: str) -> None:
    published = release.published(settings.releases)
    if version not in published:
        raise ValueError(f"release {version} is not published; published are {', '.join(published) or 'none'}")
    try:
        online.prove(release.load(settings.releases, version))
    except release.ReleaseRefused as broken:
        raise release.ReleaseRefused(
            f"{broken}. The release is broken and every service would refuse it, so FORCE=1 does not help"
        ) from None


def withdraw(settings: Settings) -> str:
    pointer = release.read_pointer(settings.releases)
    if pointer is None or pointer.challenger is None:
        return "there is no challenger to withdraw"
    release.challenge(settings.releases, None)
    _decide(settings, "challenge", "withdrawn", "", BY_HAND)
    return f"release {pointer.challenger.version} no longer challenges release {pointer.version}"


def _write_down(settings: Settings, version: str, kind: str, verdict: str, about: Mapping[str, str]) -> None:
    _decide(settings, kind, verdict, version, about)
    _crown(settings, version)


def _crown(settings: Settings, version: str) -> None:
    from ontime import registry  # here, so that a mistyped version is refused at once

    try:
        registry.crown(registry.connect(settings.tracking_url, settings.artifacts), {registry.CHAMPION: version})
    except registry.NotRecorded as error:
        # Production has moved, and must be able to without MLflow: history is told, not obeyed.
        print(f"release: {error}", file=sys.stderr)


def _decide(settings: Settings, kind: str, verdict: str, version: str, about: Mapping[str, str]) -> None:
    database.record_decision(_connect(settings), kind, verdict, {"version": version, **about})


def _connect(settings: Settings) -> sa.Engine:
    return database.connect(settings.database_url.get_secret_value())


def run(settings: Settings, words: Sequence[str]) -> str:
    """What was done. Raises ValueError for what cannot be."""
    match words:
        case ["promote", version] if version:
            return promote(settings, version)
        case ["promote", version, "force"] if version:
            return promote(settings, version, force=True)
        case ["rollback"]:
            return roll_back(settings)
        case ["withdraw"]:
            return withdraw(settings)
        case ["challenge", version, share] if version:
            return challenge(settings, version, float(share))
    raise ValueError(USAGE)


def main() -> None:
    try:
        print(f"release: {run(load_settings(), sys.argv[1:])}")
    except (ValueError, locks.Busy) as refused:
        sys.exit(f"release: {refused}")


if __name__ == "__main__":
    environment.settle()
    main()
