"""After the stages: record the runs, register the winner, publish it, ask the gate; what passes answers from now on.

    python -m pipelines.promote                                          after `make train`
    python -m pipelines.promote candidate 2013-05-01T04:00:00+00:00      of a retraining: into the shadow first

The second is started beside the stages, and waits for a line on its input, which says that they are done.
Every step can be repeated: a run, a version, a release or a verdict that exists already is found, not made twice.
So whatever interrupts this, running it again finishes it.
"""

import sys
from dataclasses import replace
from datetime import datetime

import sqlalchemy as sa

from ontime import database, environment, locks, online, refusal, release, schema
from ontime.params import load_params
from ontime.release import Pointer
from ontime.schema import WORDS
from ontime.settings import BadSettings, Settings, load_settings
from pipelines import git, lineage


def already_settled(engine: sa.Engine, pointer: Pointer | None, pipeline: str) -> str | None:
    """What was decided about these very outputs, if that decision still stands; None if there is work to do."""
    decided = database.last_decision(engine, "gate", pipeline=pipeline)
    if decided is None or pointer is None:
        return None
    made = decided.evidence["version"]
    if made in pointer.rolled_back:
        return (
            f"release {made} was rolled back, {pointer.version} answers; "
            f"`make promote VERSION={made} FORCE=1` brings it back"
        )
    if decided.verdict == "keep":
        return f"kept release {pointer.version}: {decided.evidence['reason']}"
    if made == pointer.version:
        return f"release {made} already answers with this model"
    return None


def candidate_settled(engine: sa.Engine, version: str) -> str | None:
    """The same for the candidate of a retraining, which has begun its time in the shadow once."""
    began = database.last_decision(engine, "challenge", version=version)
    return None if began is None else f"release {version} has had its shadow: {began.verdict}"


def main() -> None:
    try:
        match sys.argv[1:]:
            case []:
                settle()
            case ["candidate", moment]:
                wait_for_the_stages()
                settle(datetime.fromisoformat(moment))
            case other:
                sys.exit(f"promote: {' '.join(other)!r} is none of: nothing, candidate MOMENT")
    except (BadSettings, locks.Busy, release.ReleaseRefused, git.GitRefused) as refused:
        sys.exit(f"promote: {refused}")


def wait_for_the_stages() -> None:
    """Import what takes seconds meanwhile. Ends the process if whoever started it ends before the stages do."""
    from ontime import registry
    from pipelines import judgement  # noqa: F401

    settings = load_settings()
    registry.connect(settings.tracking_url, settings.artifacts)
    if not sys.stdin.readline():
        sys.exit("promote: nobody says that the stages are done")


def settle(candidate_at: datetime | None = None) -> None:
    """Let this training's model answer, challenge, stand by, or stay what it is already."""
    settings = load_settings()
    # One after the other: a second one is judged against what the first has let answer.
    with locks.in_turn(settings.releases / ".promotion.lock", "promote"):
        _settle(settings, candidate_at)


def _settle(settings: Settings, candidate_at: datetime | None) -> None:
    hashes = lineage.outputs(lineage.LOCK.read_text())
    engine = database.connect(settings.database_url.get_secret_value())
    pipeline = lineage.pipeline_id(hashes)
    release.current(settings.releases)  # a release that was tampered with stops everything, here
    settled = already_settled(engine, release.read_pointer(settings.releases), pipeline)
    if candidate_at is None:
        print(lineage.reproduction(hashes))
    if settled:
        print(f"promote: {settled}")
        return
    deliver(settings, engine, pipeline, hashes, candidate_at)


def deliver(
    settings: Settings, engine: sa.Engine, pipeline: str, hashes: dict[str, str], candidate_at: datetime | None
) -> None:
    """Record, register, publish, judge, and let it answer if the gate says so. Exits with 1 if nothing can be served.

    With `candidate_at`, the moment of a retraining, the gate asks only that it is no worse, and it answers after
    its time in the shadow; the first model of all has nobody to shadow.
    """
    # Imported here, so that a run with nothing to do takes a second and not ten.
    from ontime import registry
    from pipelines import judgement, packaging

    params = load_params()
    winner = packaging.challenger(params)
    packaging.refuse_disparity(winner, params.gate.parity_tolerance)
    client = registry.connect(settings.tracking_url, settings.artifacts)
    runs = packaging.runs(params, lineage.git_commit(), hashes)
    ids = registry.record(client, pipeline, runs, packaging.papers(params))
    run_id = ids[winner.name]
    version = registry.register(client, pipeline, run_id, winner.onnx, f"Predicts {schema.in_words(params.question)}.")
    contents = packaging.contents(winner, params)
    # The commit that the run was recorded with: repeated from another commit, this is still the same release.
    commit = registry.tag(client, run_id, "git_commit")
    names = packaging.validated_names()
    manifest = packaging.manifest(winner, version, run_id, commit, hashes, params, contents, names)
    release.publish(settings.releases, contents, manifest)
    online.prove(release.load(settings.releases, version))
    pointer = release.read_pointer(settings.releases)
    champion = release.current(settings.releases)
    same_question = champion is None or champion.question == manifest.question
    to_shadow = candidate_at is not None and pointer is not None
    if to_shadow and (settled := candidate_settled(engine, version)):
        print(f"promote: {settled}")
        return

    verdict, against = judgement.judge(winner, settings.releases, engine, params, refresh=to_shadow)
    if to_shadow and champion is not None and not same_question:
        reason = f"a shadow cannot compare it with release {champion.version}"
        insist = f"make promote VERSION={version} FORCE=1 serves it"
        verdict = replace(verdict, promote=False, reason=f"{verdict.reason}; {reason}: {insist}")
    word = "promote" if verdict.promote else "keep"
    evidence = {"pipeline": pipeline, "version": version, "against": against, **verdict.evidence()}
    if database.last_decision(engine, "gate", pipeline=pipeline, against=against) is None:
        database.record_decision(engine, "gate", word, evidence, candidate_at)
    print(f"gate: {word} version {version} against {against}: {verdict.reason}")
    registry.note(client, version, {"gate": word, "gate.against": against, "gate.reason": verdict.reason})
    # Features of another prediction moment would be skew for a champion that stays.
    if candidate_at is None and (verdict.promote or same_question):
        from pipelines import materialise  # the contract's library takes half a second, and no candidate needs it

        print(f"materialise: {materialise.test_period(settings, params)}")
    about = {"version": version, "pipeline": pipeline, "reason": verdict.reason}
    if not verdict.promote:
        if pointer is None:
            sys.exit("promote: the gate refused the first model, so there is no release to serve")
        print(f"promote: release {pointer.version} goes on answering; {version} stands by (see `make shadow`)")
    elif to_shadow:
        release.challenge(settings.releases, version)
        registry.crown(client, {registry.CHALLENGER: version})
        database.record_decision(engine, "challenge", "share 0", about, candidate_at)
        print(f"promote: release {version} ({winner.name}) scores every {WORDS.entity} in the shadow from now on")
    else:
        registry.crown(client, {registry.CHAMPION: version})
        release.point(settings.releases, version)
        database.record_decision(engine, "promotion", "published", about, candidate_at)
        print(f"promote: release {version} ({winner.name}) answers from now on")


if __name__ == "__main__":
    environment.settle()
    with refusal.told("promote"):
        main()
