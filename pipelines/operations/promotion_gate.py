"""Runs the gate: compares the challenger with the champion, or a baseline, on entities that neither was trained on."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import sqlalchemy as sa

from ontime import database, gate, model, release, release_pointer, schema
from ontime.gate import Rival, Verdict
from ontime.params import Params
from pipelines.operations.packaging import BestModel


class Rivals(NamedTuple):
    """`base_rate` is set if the champion is a baseline, because no release predicts this label yet."""

    champion: Rival
    best: Rival | None
    base_rate: float | None


def run_gate(
    challenger: BestModel, releases: Path, engine: sa.Engine, params: Params, *, non_inferiority: bool = False
) -> tuple[Verdict, str]:
    """The gate's verdict, and the name of the model that the challenger was compared with: a release or a baseline.

    It is a baseline without a release, and if the live release predicts a different label. With `non_inferiority`, the
    challenger need not be better, only not worse by more than the margin. Raises GateBroken if either was trained on
    the entities.
    """
    gate.refuse_seen_entities(f"challenger {challenger.name}", challenger.trained_on, challenger.entities["entity_id"])
    rivals = rivals_of(challenger, releases, engine, params)
    verdict = gate.decide(
        challenger.entities,
        challenger.predictions[challenger.name].to_numpy(),
        rivals.champion,
        params.gate,
        params.evaluate,
        non_inferiority=non_inferiority,
        best=rivals.best,
        base_rate=rivals.base_rate,
    )
    current = release_pointer.live_manifest(releases, any_features=True)
    if current is not None and current.question != params.question:
        predicts = f"release {current.version} predicts {schema.in_words(current.question)}"
        note = f"{predicts}, so the comparison is with the {rivals.champion.name}"
        verdict = replace(verdict, reason=f"{verdict.reason}; {note}")
    return verdict, rivals.champion.name


def rivals_of(challenger: BestModel, releases: Path, engine: sa.Engine, params: Params) -> Rivals:
    current = release_pointer.live_manifest(releases, any_features=True)
    if current is None or current.question != params.question:
        return Rivals(_baseline(challenger), None, challenger.training["base_rate"])
    best = best_so_far(engine, releases)
    rival = None if best in (None, current.version) else _release(best, releases, challenger.entities, params)
    return Rivals(_release(current.version, releases, challenger.entities, params), rival, None)


def _baseline(challenger: BestModel) -> Rival:
    if model.BASELINE in challenger.predictions:
        return Rival(f"baseline {model.BASELINE}", challenger.predictions[model.BASELINE].to_numpy())
    return Rival("baseline of the base rate", np.full(len(challenger.entities), challenger.training["base_rate"]))


def _release(version: str, releases: Path, entities: pd.DataFrame, params: Params) -> Rival:
    """A release on these entities. Its features may be fewer than this code's: a feature that was added is judged so.

    Raises ReleaseRefused if this code no longer computes one of them.
    """
    manifest, name = release.verify(releases / version, any_features=True), f"release {version}"
    if removed := sorted(set(manifest.features) - set(schema.FEATURE_NAMES)):
        raise release.ReleaseRefused(
            f"{releases / version}: has features that this code does not compute, {', '.join(removed)}, so the gate "
            "cannot compare with it: keep them for one more training, or move releases/ away, then `make train`"
        )
    gate.refuse_seen_days(name, manifest.trained_until, params.split.test_from)
    gate.refuse_seen_entities(name, release.trained_on(releases, version), entities["entity_id"])
    matrix = model.matrix_of(entities, {name: manifest.categories.get(name, ()) for name in schema.CATEGORICAL})
    positions = [schema.FEATURE_NAMES.index(feature) for feature in manifest.features]
    return Rival(name, release.load_model(releases, manifest).predict(matrix[:, positions]).astype(np.float64))


def best_so_far(engine: sa.Engine, releases: Path) -> str | None:
    """The last release that was better than the one it replaced, and was not rolled back. None if there is none.

    A release that was only not worse does not count. This bounds the loss of any number of retrainings in a row.
    """
    pointer, current = (
        release_pointer.read_pointer(releases),
        release_pointer.live_manifest(releases, any_features=True),
    )
    if pointer is None or current is None:
        return None
    served = {*pointer.history, pointer.version} - {*pointer.rolled_back}
    better = [
        row.evidence["version"]
        for row in database.decisions_of(engine, "gate")
        if row.verdict == "promote" and row.evidence["high"] < 0 and row.evidence["version"] in served
    ]
    return next((each for each in reversed(better) if _question(releases, each) == current.question), None)


def _question(releases: Path, version: str) -> object:
    try:
        return release.verify(releases / version, any_features=True).question
    except release.ReleaseRefused:  # deleted, or published by incompatible code: it cannot be compared with
        return None
