"""Checks that block a promotion: an approval, the gate's verdict, a rollback, the outcomes of both releases.

Every promotion checks the approval and the gate's verdict, and one by hand checks all of them: `blocking_reasons`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import sqlalchemy as sa

from ontime import database, database_tables, files, release, release_pointer
from ontime.release_pointer import Pointer
from ontime.schema import WORDS
from ontime.strict_yaml import parse_yaml

PARAMS_FILE = Path("params.yaml")  # not from params.py, whose import of the candidates takes a second

if TYPE_CHECKING:
    from ontime.evaluation import Estimate


class Comparison(NamedTuple):
    """Log-loss of one release minus the champion's on the same entities, as `make compare` prints it."""

    mean: float
    low: float
    high: float
    entities: int

    @classmethod
    def of(cls, difference: "Estimate", entities: int) -> Self:
        return cls(round(difference.value, 4), *difference.interval, entities)

    @property
    def verdict(self) -> Literal["better", "worse", "no significant difference"]:
        return "better" if self.high < 0 else "worse" if self.low > 0 else "no significant difference"


def blocking_reasons(engine: sa.Engine, releases: Path, version: str) -> str | None:
    """Why `version` must not replace the champion, or None if nothing blocks it."""
    pointer = release_pointer.read_pointer(releases)
    champion = _champion_before(pointer, version)
    comparison = compare_on_outcomes(engine, releases, champion, version) if champion else None
    reasons = [
        _rollback(engine, pointer, version),
        _missing_verdict(engine, champion, version, comparison),
        _worse_outcomes(champion, version, comparison),
    ]
    return "; ".join(reason for reason in reasons if reason) or None


def gate_rejection(engine: sa.Engine, version: str) -> str | None:
    """Why the gate rejects a release, whichever champion it was compared with; None if it passed."""
    gate = database.last_decision(engine, "gate", version=version)
    if gate is None:
        return f"the gate has no verdict on release {version}"
    if gate.verdict != "promote":
        against, reason = gate.evidence.get("against", "the champion"), gate.evidence["reason"]
        return f"the gate rejected release {version} in the comparison with {against}: {reason}"
    return None


def missing_approval(engine: sa.Engine, releases: Path, version: str) -> str | None:
    """Why `policy.approval_required` forbids the promotion; None if the parameter is false, or a person approved it."""
    if not _approval_required():
        return None
    approval = database.last_decision(engine, "approval", version=version)
    command = f'make approve VERSION={version} REASON="..."'
    if approval is None:
        return f"release {version} needs an approval (policy.approval_required): run {command}"
    if approval.evidence["manifest_sha256"] != files.digest(releases / version / release.MANIFEST):
        return f"release {version} is not the one that {approval.actor} approved, its manifest differs: run {command}"
    return None


def _approval_required() -> bool:
    """Reads this key only: a mistake elsewhere in params.yaml must not stop a promotion."""
    policy = parse_yaml(PARAMS_FILE.read_text(encoding="utf-8"))["policy"]
    return policy.get("approval_required", True) is not False


def compare_on_outcomes(engine: sa.Engine, releases: Path, champion: str, version: str) -> Comparison | None:
    """Both releases on the entities that both have scored and whose outcome is known.

    None for fewer than two days of them, or if a release is broken or the two predict different labels.
    """
    if not _scored_by_both(engine, champion, version):
        return None
    from monitoring import performance  # here: importing pandas takes a second, and most calls do not need it

    try:
        before, after = (release.verify(releases / each) for each in (champion, version))
        entities = performance.paired_predictions(engine, before, after)
    except release.ReleaseRefused:
        return None
    difference = performance.loss_difference(entities)
    return Comparison.of(difference, len(entities)) if difference else None


def _scored_by_both(engine: sa.Engine, champion: str, version: str) -> bool:
    answered, shadowed = database_tables.predictions.c, database_tables.shadows.c
    pair = sa.or_(
        sa.and_(answered.model_version == champion, shadowed.model_version == version),
        sa.and_(answered.model_version == version, shadowed.model_version == champion),
    )
    both = sa.select(sa.literal(1)).join_from(
        database_tables.shadows, database_tables.predictions, shadowed.prediction_id == answered.prediction_id
    )
    with engine.connect() as connection:
        return connection.execute(both.where(pair).limit(1)).first() is not None


def _champion_before(pointer: Pointer | None, version: str) -> str | None:
    """The champion that `version` replaces; its predecessor if the pointer has already moved to `version`."""
    if pointer is None:
        return None
    if pointer.version != version:
        return pointer.version
    return pointer.history[-1] if pointer.history else None


def _rollback(engine: sa.Engine, pointer: Pointer | None, version: str) -> str | None:
    """The last rollback of `version`, unless it was promoted again after that."""
    by_policy = database.last_decision(engine, "policy", action="roll back", champion=version)
    by_hand = [row for row in database.decisions_of(engine, "rollback") if row.verdict == f"from {version}"]
    rollbacks = [row for row in (by_policy, *by_hand) if row is not None]
    last = max(rollbacks, key=_position, default=None)
    promotion = database.last_decision(engine, "promotion", version=version)
    if last is not None and (promotion is None or _position(promotion) < _position(last)):
        if last.kind != "policy":
            return f"release {version} was rolled back by hand"
        return f"release {version} was rolled back by the policy: {last.evidence['reason']}"
    if pointer is not None and version in pointer.rolled_back:
        return f"release {version} was rolled back"
    return None


def _position(row: sa.Row[Any]) -> int:
    """Decisions are ordered by id, because their times are from two clocks."""
    return int(row.decision_id)


def _missing_verdict(
    engine: sa.Engine, champion: str | None, version: str, comparison: Comparison | None
) -> str | None:
    """The gate's verdict comes first; better outcomes replace a missing comparison with this champion."""
    gate = database.last_decision(engine, "gate", version=version)
    if gate is not None and gate.verdict != "promote":
        return gate_rejection(engine, version)
    if comparison is not None and comparison.verdict == "better":
        return None
    against = gate.evidence.get("against") if gate else None
    if gate is None or champion is None or against == f"release {champion}":
        return gate_rejection(engine, version)
    return f"the gate compared release {version} with {against}, not with release {champion}, which is live"


def _worse_outcomes(champion: str | None, version: str, comparison: Comparison | None) -> str | None:
    if comparison is None or comparison.verdict != "worse":
        return None
    mean, low, high, entities = comparison
    return (
        f"release {version} is worse than release {champion} on {entities:,} {WORDS.entities} with a known outcome "
        f"(`make compare`): log-loss {mean:+.4f}, 95 % interval {low:+.4f} to {high:+.4f}"
    )
