"""What `promote` asks the gate: what the challenger is compared with, on entities that nobody was trained on."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from ontime import database, gate, model, release, schema
from ontime.gate import Rival, Verdict
from ontime.params import Params
from pipelines.operations.packaging import Winner


class Rivals(NamedTuple):
    """`base_rate` where the champion is a baseline, because there is no release for this question yet."""

    champion: Rival
    best: Rival | None
    base_rate: float | None


def run_gate(
    winner: Winner, releases: Path, engine: sa.Engine, params: Params, *, refresh: bool = False
) -> tuple[Verdict, str]:
    """The gate's verdict, and what the challenger was compared with: a release, or a baseline.

    It is a baseline at first, and where the current release predicts something else. With `refresh` the challenger
    need not be better, only not worse than the margin. Raises GateBroken for entities that any of them has seen.
    """
    gate.refuse_seen_entities(f"challenger {winner.name}", winner.trained_on, winner.entities["entity_id"])
    rivals = rivals_of(winner, releases, engine, params)
    verdict = gate.decide(
        winner.entities,
        winner.predictions[winner.name].to_numpy(),
        rivals.champion,
        params.gate,
        params.evaluate,
        refresh=refresh,
        best=rivals.best,
        base_rate=rivals.base_rate,
    )
    current = release.current(releases)
    if current is not None and current.question != params.question:
        predicts = f"release {current.version} predicts {schema.in_words(current.question)}"
        why = f"{predicts}, so the measure is the {rivals.champion.name}"
        verdict = replace(verdict, reason=f"{verdict.reason}; {why}")
    return verdict, rivals.champion.name


def rivals_of(winner: Winner, releases: Path, engine: sa.Engine, params: Params) -> Rivals:
    current = release.current(releases)
    if current is None or current.question != params.question:
        return Rivals(_baseline(winner), None, winner.training["base_rate"])
    best = best_so_far(engine, releases)
    rival = None if best in (None, current.version) else _release(best, releases, winner.entities, params)
    return Rivals(_release(current.version, releases, winner.entities, params), rival, None)


def _baseline(winner: Winner) -> Rival:
    if model.BASELINE in winner.predictions:
        return Rival(f"baseline {model.BASELINE}", winner.predictions[model.BASELINE].to_numpy())
    return Rival("baseline of the base rate", np.full(len(winner.entities), winner.training["base_rate"]))


def _release(version: str, releases: Path, entities: pd.DataFrame, params: Params) -> Rival:
    loaded = release.load(releases, version)
    name = f"release {version}"
    gate.refuse_seen_days(name, loaded.manifest.trained_until, params.split.test_from)
    gate.refuse_seen_entities(name, release.trained_on(releases, version), entities["entity_id"])
    matrix = model.matrix_of(entities, loaded.manifest.categories)
    return Rival(name, loaded.model.predict(matrix).astype(np.float64))


def best_so_far(engine: sa.Engine, releases: Path) -> str | None:
    """The last release that proved better than what it replaced, and was not rolled back.

    One that was only found to be no worse does not take this place: so what refreshes may lose is bounded, however
    many there are. None where the gate's log says of no release that still stands.
    """
    pointer, current = release.read_pointer(releases), release.current(releases)
    if pointer is None or current is None:
        return None
    served = {*pointer.history, pointer.version} - {*pointer.rolled_back}
    proved = [
        row.evidence["version"]
        for row in database.decisions_of(engine, "gate")
        if row.verdict == "promote" and row.evidence["high"] < 0 and row.evidence["version"] in served
    ]
    of_this_question = (each for each in reversed(proved) if _question(releases, each) == current.question)
    return next(of_this_question, None)


def _question(releases: Path, version: str) -> object:
    try:
        return release.verify(releases / version).question
    except release.ReleaseRefused:  # it is gone, or of other code: nothing to compare with
        return None
