"""After the stages: record the runs, register the winner, ask the gate, publish; what passes answers from now on.

Every step can be repeated: a run, a version or a release that exists already is found, not made twice. So
whatever interrupts this, running it again finishes it.
"""

import sys

import sqlalchemy as sa

from ontime import database, online, release
from ontime.params import load_params
from ontime.settings import BadSettings, Settings, load_settings
from pipelines import lineage


def already_settled(engine: sa.Engine, pointer: release.Pointer | None, pipeline: str) -> str | None:
    """What was decided about these very outputs, if that decision still stands; None if there is work to do."""
    decided = database.last_decision(engine, "gate", pipeline)
    if decided is None or pointer is None:
        return None
    releases_version, made = pointer.version, decided.evidence["version"]
    if made in pointer.rolled_back:
        return (
            f"release {made} was rolled back, {releases_version} answers; `make promote VERSION={made}` brings it back"
        )
    if decided.verdict == "keep":
        return f"kept release {releases_version}: {decided.evidence['reason']}"
    if decided.evidence["version"] == releases_version:
        return f"release {releases_version} already answers with this model"
    return None


def main() -> None:
    try:
        settle()
    except (BadSettings, release.ReleaseRefused) as refused:
        sys.exit(f"promote: {refused}")


def settle() -> None:
    """Let this training's model answer, stand by, or stay what it is already."""
    settings, hashes = load_settings(), lineage.outputs(lineage.LOCK.read_text())
    engine = database.connect(settings.database_url.get_secret_value())
    pipeline = lineage.pipeline_id(hashes)
    release.current(settings.releases)  # a release that was tampered with stops everything, here
    settled = already_settled(engine, release.read_pointer(settings.releases), pipeline)
    print(lineage.reproduction(hashes))
    if settled:
        print(f"promote: {settled}")
        return
    deliver(settings, engine, pipeline, hashes)


def deliver(settings: Settings, engine: sa.Engine, pipeline: str, hashes: dict[str, str]) -> None:
    """Record, register, judge, and publish if the gate says so. Exits with 1 if nothing can be served then."""
    # Imported here, so that a run with nothing to do takes a second and not ten.
    from ontime import registry
    from pipelines import materialise, packaging

    params = load_params()
    challenger = packaging.challenger(params)
    packaging.refuse_disparity(challenger, params.gate.parity_tolerance)
    client = registry.connect(settings.tracking_url, settings.artifacts)
    runs = packaging.runs(params, lineage.git_commit(), hashes)
    ids = registry.record(client, pipeline, runs, packaging.REPORTED + packaging.MADE_FROM)
    version = registry.register(client, pipeline, ids[challenger.name], challenger.onnx)
    verdict, against = packaging.judge(challenger, settings.releases, params)
    evidence = {"pipeline": pipeline, "version": version, "against": against, **verdict.evidence()}
    database.record_decision(engine, "gate", "promote" if verdict.promote else "keep", evidence)
    print(f"gate: {'promote' if verdict.promote else 'keep'} version {version} against {against}: {verdict.reason}")
    materialise.main()
    run_id, contents = ids[challenger.name], packaging.contents(challenger, params)
    # The commit that the run was recorded with: repeated from another commit, this is still the same release.
    commit = registry.tag(client, run_id, "git_commit")
    release.publish(
        settings.releases,
        contents,
        packaging.manifest(challenger, version, run_id, commit, hashes, params, contents),
    )
    online.prove(release.load(settings.releases, version))
    if verdict.promote:
        registry.crown(client, version)
        release.point(settings.releases, version)
        database.record_decision(engine, "promotion", "published", {"version": version, "pipeline": pipeline})
        print(f"promote: release {version} ({challenger.name}) answers from now on")
    elif champion := release.current(settings.releases):
        print(f"promote: release {champion.version} goes on answering; {version} stands by (see `make shadow`)")
    else:
        sys.exit("promote: the gate refused the first model, so there is no release to serve")


if __name__ == "__main__":
    main()
