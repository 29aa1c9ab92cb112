"""Carries out what the policy decided about releases; again is no change. Retraining is asked for, not done here."""

import sys
from datetime import date, datetime

import sqlalchemy as sa

from monitoring.policy import Action
from ontime import database, online, release
from ontime.release import Pointer
from ontime.settings import Settings


def carry_out(
    settings: Settings, engine: sa.Engine, action: Action, version: str | None, day: date, now: datetime
) -> None:
    """The pointer moves first, because that is what production follows; decisions and MLflow's alias after it."""
    pointer = release.read_pointer(settings.releases)
    if pointer is None or version is None:
        return
    if action is Action.PROMOTE:
        if pointer.challenger is not None and pointer.challenger.version == version:
            online.prove(release.load(settings.releases, version))
            release.point(settings.releases, version, watched=True)
        if _answers(settings, version):
            _write_down(settings, engine, "promotion", "by the policy", version, day, now)
    elif action is Action.ROLL_BACK:
        if pointer.history and pointer.history[-1] == version:
            release.roll_back(settings.releases)
        if _answers(settings, version):
            _write_down(settings, engine, "rollback", "by the policy", version, day, now)
    elif action is Action.WITHDRAW:
        if pointer.challenger is not None and pointer.challenger.version == version:
            release.challenge(settings.releases, None)
        _write_down(settings, engine, "challenge", "withdrawn", version, day, now)


def _answers(settings: Settings, version: str) -> bool:
    """Whether the pointer is there: somebody may have moved it by hand meanwhile, and then nothing was carried out."""
    pointer = release.read_pointer(settings.releases)
    return pointer is not None and pointer.version == version


def _write_down(
    settings: Settings, engine: sa.Engine, kind: str, verdict: str, version: str, day: date, now: datetime
) -> None:
    if database.last_decision(engine, kind, day=str(day), version=version) is not None:
        return
    from ontime import registry  # here, because most days nothing moves and MLflow takes seconds

    try:
        client = registry.connect(settings.tracking_url, settings.artifacts)
        registry.crown(client, _aliases(release.read_pointer(settings.releases)))
        registry.note(client, version, {f"{kind}.{day}": verdict})
    except registry.NotRecorded as error:
        # Production has moved, and must be able to without MLflow: history is told, not obeyed.
        print(f"act: {error}", file=sys.stderr)
    decided = database.last_decision(engine, "policy", day=str(day))
    reason = decided.evidence["reason"] if decided else verdict
    database.record_decision(engine, kind, verdict, {"version": version, "day": str(day), "reason": reason}, now)


def _aliases(pointer: Pointer | None) -> dict[str, str | None]:
    """Which version has which of MLflow's aliases, as the pointer says."""
    challenger = pointer.challenger.version if pointer and pointer.challenger else None
    return {"champion": pointer.version if pointer else None, "challenger": challenger}
