"""After the stages: record the runs, register and publish the best model, run the gate, promote if it passes.

    python -m pipelines.operations.promote                                             after `make train`
    python -m pipelines.operations.promote --candidate-at 2013-05-01T04:00:00+00:00    after a retraining: shadow first

The second form starts in parallel with the stages, and waits until a line on its standard input reports their end.
Every step is idempotent: an existing run, version, release or verdict is reused. After an interruption, run it again.

The calls, from the command to the file that names the live release:

    make train            train_and_promote.py: dvc repro, then this module's `run`
    record_and_publish    packaging.py, ontime/registry.py, ontime/release.py: a version in MLflow, a release folder
    gate_verdict          promotion_gate.py -> ontime/gate.py `decide`; a row of kind "gate" in `decisions`
    apply_verdict         promote, shadow or standby
    transitions.promote   promotion_checks.py, then the pointer, MLflow's aliases, a row of kind "promotion"
    set_live              ontime/release_pointer.py: replaces releases/current.json, which every service watches

`make promote` (release_commands.py) and the policy (apply_policy.py) begin at `transitions.promote`.
"""

import argparse
import sys
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from ontime import database, environment, locks, online, refusal, release, release_pointer, schema
from ontime.params import Params, load_params
from ontime.release_pointer import Pointer
from ontime.schema import WORDS
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.operations import git, lineage, transition_log, transitions
from pipelines.operations.transition_log import BY_TRAINING, MoveCause

if TYPE_CHECKING:
    from ontime.gate import Verdict
    from pipelines.operations.packaging import BestModel


@dataclass(frozen=True)
class Training:
    """The results of the stages, and their stores. `candidate_at`: the moment of a retraining, on the feed's clock."""

    settings: Settings
    engine: sa.Engine
    params: Params
    pipeline: str
    hashes: dict[str, str]
    candidate_at: datetime | None
    shadows: bool  # a candidate starts as a shadow, and need not be better; the first model has no champion to shadow

    def cause(self, reason: str) -> MoveCause:
        return MoveCause(BY_TRAINING, reason, {"pipeline": self.pipeline}, self.candidate_at)


class PublishedModel(NamedTuple):
    """The published model; whether the champion, if there is one, predicts the same label, from the same features."""

    best: "BestModel"
    version: str
    same_question: bool
    same_features: bool


def earlier_decision(engine: sa.Engine, pointer: Pointer | None, pipeline: str) -> str | None:
    """The decision of an earlier run about the same outputs, if it still holds; None if there is work to do."""
    gate = database.last_decision(engine, "gate", pipeline=pipeline)
    if gate is None or pointer is None:
        return None
    version = gate.evidence["version"]
    if version in pointer.rolled_back:
        return (
            f"no change: release {version} of this training was rolled back, and release {pointer.version} is live; "
            f"`make promote VERSION={version} FORCE=1` promotes it again"
        )
    if gate.verdict == "reject":
        return f"no change: release {pointer.version} stays live; the gate's verdict: {gate.evidence['reason']}"
    if version == pointer.version:
        return f"no change: release {version} of this training is live"
    return None


def earlier_trial(engine: sa.Engine, version: str) -> str | None:
    """The same for a retraining's candidate that has already been put in shadow mode."""
    challenge = database.last_decision(engine, "challenge", version=version)
    if challenge is None:
        return None
    return f"no change: release {version} was already in shadow mode: {challenge.verdict}"


def main(candidate_at: datetime | None = None) -> None:
    """`candidate_at`: None after `make train`; the moment of a retraining, whose stages are still running."""
    try:
        if candidate_at is not None:
            wait_for_stages()
        run(candidate_at)
    except (BadSettings, locks.Busy, release.ReleaseRefused, git.GitRefused, transitions.TransitionRefused) as refused:
        sys.exit(f"promote: {refused}")


def wait_for_stages() -> None:
    """Import slow modules meanwhile. Exits if the parent process ends before the stages finish."""
    from ontime import registry
    from pipelines.operations import promotion_gate  # noqa: F401

    settings = load_settings()
    registry.tracking_client(settings.tracking_url, settings.artifacts)
    if not sys.stdin.readline():
        sys.exit("promote: the parent process ended before the stages finished; run make train again")


def run(candidate_at: datetime | None = None) -> None:
    """Publish this training's model, and promote it, start its shadow or keep it on standby, as the gate decides."""
    settings = load_settings()
    # One at a time: the gate compares a second model with the champion that the first may have become.
    with locks.wait_and_hold(settings.releases / ".promotion.lock", "promote"):
        _run(settings, candidate_at)


def _run(settings: Settings, candidate_at: datetime | None) -> None:
    hashes = lineage.outputs(lineage.LOCK.read_text(encoding="utf-8"))
    engine = database.connect(settings.database_url)
    # Raises ReleaseRefused for a release that was tampered with.
    release_pointer.live_manifest(settings.releases, any_features=True)
    pointer = release_pointer.read_pointer(settings.releases)
    shadows = candidate_at is not None and pointer is not None
    training = Training(settings, engine, load_params(), lineage.pipeline_id(hashes), hashes, candidate_at, shadows)
    decision = earlier_decision(engine, pointer, training.pipeline)
    if candidate_at is None:
        print(lineage.reproduction(hashes))
    if decision:
        complete_promotion(training, pointer)
        print(f"promote: {decision}")
        return
    publish_and_decide(training)


def complete_promotion(training: Training, pointer: Pointer | None) -> None:
    """Record the promotion of this training if an earlier run was interrupted after it moved the pointer."""
    gate = database.last_decision(training.engine, "gate", pipeline=training.pipeline)
    if pointer is None or gate is None or gate.verdict != "promote" or gate.evidence["version"] != pointer.version:
        return
    if not transition_log.is_recorded(training.engine, pointer):
        cause = training.cause(gate.evidence["reason"])
        transitions.promote(training.settings, training.engine, pointer.version, cause)


def publish_and_decide(training: Training) -> None:
    """Record and publish, decide, apply. Exits with status 1 if there is no release to serve."""
    candidate = record_and_publish(training)
    if training.shadows and (trial := earlier_trial(training.engine, candidate.version)):
        print(f"promote: {trial}")
        return
    apply_verdict(training, candidate, gate_verdict(training, candidate))


def record_and_publish(training: Training) -> PublishedModel:
    """Record the runs, register the best model in MLflow and publish it as a release, verified with its probes."""
    # Imported here, so that a run with nothing to do takes one second instead of ten.
    from ontime import registry
    from pipelines.operations import packaging

    settings, params = training.settings, training.params
    best = packaging.read_best_model(params)
    packaging.refuse_disparity(best, params.gate.parity_tolerance)
    client = registry.tracking_client(settings.tracking_url, settings.artifacts)
    runs = packaging.runs(params, lineage.git_commit(), training.hashes)
    ids = registry.record_runs(client, training.pipeline, runs, packaging.run_artifacts(params))
    run_id = ids[best.name]
    description = f"Predicts {schema.in_words(params.question)}."
    version = registry.register(client, training.pipeline, run_id, best.onnx, description)
    contents = packaging.contents(best, params)
    # The commit of the recorded run: the same training, repeated from another commit, is the same release.
    commit = registry.run_tag(client, run_id, "git_commit")
    names = packaging.validated_names()
    manifest = packaging.manifest(best, version, run_id, commit, training.hashes, params, contents, names)
    # Its signature attests that it was loaded and probed. If it was published before, only the second line checks it.
    release.publish(settings.releases, contents, manifest, online.check_probes)
    online.check_probes(release.load(settings.releases, version))
    champion = release_pointer.live_manifest(settings.releases, any_features=True)
    return PublishedModel(
        best,
        version,
        same_question=champion is None or champion.question == params.question,
        same_features=champion is None or champion.features == manifest.features,
    )


def gate_verdict(training: Training, candidate: PublishedModel) -> "Verdict":
    """The gate's verdict, which is printed and recorded in `decisions` and MLflow."""
    from ontime import registry
    from pipelines.operations import promotion_gate

    settings, engine, version = training.settings, training.engine, candidate.version
    verdict, against = promotion_gate.run_gate(
        candidate.best, settings.releases, engine, training.params, non_inferiority=training.shadows
    )
    champion = release_pointer.live_manifest(settings.releases, any_features=True)
    if training.shadows and champion is not None and not candidate.same_question:
        reason = f"it predicts a different label from release {champion.version}, so a shadow cannot compare them"
        override = f"make promote VERSION={version} FORCE=1 promotes it anyway"
        verdict = replace(verdict, promote=False, reason=f"{verdict.reason}; {reason}: {override}")
    word = "promote" if verdict.promote else "reject"
    evidence = {"pipeline": training.pipeline, "version": version, "against": against, **verdict.evidence()}
    if database.last_decision(engine, "gate", pipeline=training.pipeline, against=against) is None:
        actor = f"training ({settings.actor})"
        database.record_decision(engine, "gate", word, evidence, training.candidate_at, actor)
    print(f"gate: {word} version {version} against {against}: {verdict.reason}")
    client = registry.tracking_client(settings.tracking_url, settings.artifacts)
    registry.tag_version(client, version, {"gate": word, "gate.against": against, "gate.reason": verdict.reason})
    return verdict


def apply_verdict(training: Training, candidate: PublishedModel, verdict: "Verdict") -> None:
    """Promote the candidate, start its shadow or keep it on standby, as the gate decided."""
    settings, engine, version = training.settings, training.engine, candidate.version
    # Features of another prediction moment, or others, would be skew for a champion that stays live.
    fits_champion = candidate.same_question and candidate.same_features
    if training.candidate_at is None and (verdict.promote or fits_champion):
        from pipelines.operations import (
            materialise,  # the contract's library takes half a second, and no candidate needs it
        )

        print(f"materialise: {materialise.materialise_test_period(settings, training.params)}")
    cause, name = training.cause(verdict.reason), candidate.best.name
    if not verdict.promote:
        pointer = release_pointer.read_pointer(settings.releases)
        if pointer is None:
            sys.exit(
                "promote: the gate rejected the first model, for the reason above, so there is no release to serve. "
                f"More rows often help; `make promote VERSION={version} FORCE=1` releases it anyway, on record"
            )
        print(f"promote: release {pointer.version} stays live; {version} is on standby (see `make shadow`)")
        if not candidate.same_features:
            print(
                f"promote: release {pointer.version} has the features of other code, and this code does not serve it: "
                f"return to that code, or serve {version} anyway with `make promote VERSION={version} FORCE=1`"
            )
    elif training.shadows:
        transitions.challenge(settings, engine, version, 0, cause)
        print(f"promote: release {version} ({name}) is in shadow mode: it scores every {WORDS.entity}, but serves none")
    else:
        result = promote_if_approved(settings, engine, version, cause)
        print(f"promote: {result or f'release {version} ({name}) is live'}")


def promote_if_approved(settings: Settings, engine: sa.Engine, version: str, cause: MoveCause) -> str | None:
    """Promote a release that passed the gate. Returns why it waits if a person has to approve it first, otherwise None.

    The champion stays live meanwhile. Exits with status 1 if there is none.
    """
    try:
        transitions.promote(settings, engine, version, cause)
    except transitions.ApprovalMissing as missing:
        live = release_pointer.read_pointer(settings.releases)
        if live is None:
            sys.exit(f"promote: {missing}; then make promote VERSION={version}")
        return f"release {live.version} stays live; {missing}; then make promote VERSION={version}"
    return None


if __name__ == "__main__":
    environment.enforce()
    parser = argparse.ArgumentParser(prog="promote")
    parser.add_argument("--candidate-at", type=datetime.fromisoformat)
    with refusal.exit_on_refusal("promote"):
        main(parser.parse_args().candidate_at)
