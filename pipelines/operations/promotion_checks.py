"""What is known against a release: the gate's verdict, a rollback, the outcomes that both releases were scored on.

The gate is asked wherever a release is promoted, also by hand: `objection` is the only place that says why not.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import sqlalchemy as sa

from ontime import database, release
from ontime.release import Pointer
from ontime.schema import WORDS

if TYPE_CHECKING:
    from ontime.evaluation import Estimate


class Comparison(NamedTuple):
    """Log-loss of one release less the champion's on the same entities: what `make compare` prints."""

    mean: float
    low: float
    high: float
    entities: int

    @classmethod
    def of(cls, difference: "Estimate", entities: int) -> Self:
        return cls(round(difference.value, 4), *difference.interval, entities)

    @property
    def verdict(self) -> Literal["better", "worse", "not told apart"]:
        return "better" if self.high < 0 else "worse" if self.low > 0 else "not told apart"


def blocking_reasons(engine: sa.Engine, releases: Path, version: str) -> str | None:
    """Why `version` should not take the champion's place, or None where nothing is known against it."""
    pointer = release.read_pointer(releases)
    champion = _champion_before(pointer, version)
    comparison = compare_on_outcomes(engine, releases, champion, version) if champion else None
    reasons = [
        _rolled_back(engine, pointer, version),
        _not_passed(engine, champion, version, comparison),
        _worse(champion, version, comparison),
    ]
    return "; ".join(reason for reason in reasons if reason) or None


def gate_rejection(engine: sa.Engine, version: str) -> str | None:
    """What the gate has against a release, whichever champion it was compared with; None where it let it through."""
    judged = database.last_decision(engine, "gate", version=version)
    if judged is None:
        return f"the gate has never judged release {version}"
    if judged.verdict != "promote":
        against, reason = judged.evidence.get("against", "the champion"), judged.evidence["reason"]
        return f"the gate kept release {version} out when it was compared with {against}: {reason}"
    return None


def compare_on_outcomes(engine: sa.Engine, releases: Path, champion: str, version: str) -> Comparison | None:
    """Both on the entities that both have scored and whose outcome is known.

    None for fewer than two days of them, and where one is broken or the two predict different things.
    """
    if not _scored_by_both(engine, champion, version):
        return None
    from monitoring import performance  # here, because pandas takes a second that most calls can spare

    try:
        before, after = (release.verify(releases / each) for each in (champion, version))
        entities = performance.paired(engine, before, after)
    except release.ReleaseRefused:
        return None
    difference = performance.paired_difference(entities)
    return Comparison.of(difference, len(entities)) if difference else None


def _scored_by_both(engine: sa.Engine, champion: str, version: str) -> bool:
    answered, shadowed = database.predictions.c, database.shadows.c
    pair = sa.or_(
        sa.and_(answered.model_version == champion, shadowed.model_version == version),
        sa.and_(answered.model_version == version, shadowed.model_version == champion),
    )
    both = sa.select(sa.literal(1)).join_from(
        database.shadows, database.predictions, shadowed.prediction_id == answered.prediction_id
    )
    with engine.connect() as connection:
        return connection.execute(both.where(pair).limit(1)).first() is not None


def _champion_before(pointer: Pointer | None, version: str) -> str | None:
    """What `version` takes the place of; also where the pointer has moved already, and only the record is missing."""
    if pointer is None:
        return None
    if pointer.version != version:
        return pointer.version
    return pointer.history[-1] if pointer.history else None


def _rolled_back(engine: sa.Engine, pointer: Pointer | None, version: str) -> str | None:
    """The last rollback of `version`, unless it was promoted again after that."""
    by_policy = database.last_decision(engine, "policy", action="roll back", champion=version)
    by_hand = [row for row in database.decisions_of(engine, "rollback") if row.verdict == f"from {version}"]
    rollbacks = [row for row in (by_policy, *by_hand) if row is not None]
    last = max(rollbacks, key=_place, default=None)
    promoted = database.last_decision(engine, "promotion", version=version)
    if last is not None and (promoted is None or _place(promoted) < _place(last)):
        if last.kind != "policy":
            return f"release {version} was rolled back by hand"
        return f"release {version} was rolled back by the policy: {last.evidence['reason']}"
    if pointer is not None and version in pointer.rolled_back:
        return f"release {version} was rolled back"
    return None


def _place(row: sa.Row[Any]) -> int:
    """Decisions are in the order of their numbers; their times are of two clocks."""
    return int(row.decision_id)


def _not_passed(engine: sa.Engine, champion: str | None, version: str, comparison: Comparison | None) -> str | None:
    """The gate's verdict is asked for first; known outcomes stand in for one about this very champion."""
    judged = database.last_decision(engine, "gate", version=version)
    if judged is not None and judged.verdict != "promote":
        return gate_rejection(engine, version)
    if comparison is not None and comparison.verdict == "better":
        return None
    against = judged.evidence.get("against") if judged else None
    if judged is None or champion is None or against == f"release {champion}":
        return gate_rejection(engine, version)
    return f"the gate compared release {version} with {against}, never with release {champion}, which serves traffic"


def _worse(champion: str | None, version: str, comparison: Comparison | None) -> str | None:
    if comparison is None or comparison.verdict != "worse":
        return None
    mean, low, high, entities = comparison
    return (
        f"`make compare` calls release {version} worse than release {champion} on {entities:,} {WORDS.entities} with a "
        f"known outcome: log-loss {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    )
