"""`make reproduce VERSION=n`: a registered version built anew from its number alone; does it predict the same?

Its number leads to a commit, to the parameters and the hashes that MLflow kept, and to the registered model.
The exit status is 0 only if every output and every prediction is the same.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from ontime import environment, registry
from ontime.registry import Origin
from ontime.schema import WORDS
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.operations import git, lineage
from pipelines.tools.rebuild import LIBRARIES, NotRebuilt, Rebuilt, rebuild

Key = TypeVar("Key")


class Verdict(NamedTuple):
    same: bool
    lines: list[str]  # the last one says it all


def refuse_unrecorded(version: str, origin: Origin) -> None:
    """Raise NotRebuilt for a version whose code nobody kept, or whose record contradicts itself."""
    if origin.git_commit == "unknown":
        raise NotRebuilt(f"version {version} was made where nothing was committed, so its code was not kept")
    if origin.git_commit.endswith("-dirty"):
        commit = origin.git_commit.removesuffix("-dirty")
        raise NotRebuilt(
            f"the code of version {version} was never committed: it was {commit} with changes that nobody kept, so "
            "it cannot be rebuilt. Next time commit first, then `make train`"
        )
    if lineage.pipeline_id(lineage.outputs(origin.dvc_lock)) != origin.pipeline:
        raise NotRebuilt(f"the dvc.lock that was kept of version {version} is not the one of its results")


def judge(version: str, origin: Origin, rebuilt: Rebuilt) -> Verdict:
    """What is the same and what is not, in words."""
    outputs = lineage.outputs(rebuilt.lock)
    differing = _differing(lineage.outputs(origin.dvc_lock), outputs)
    inputs = {what for _, what in _differing(lineage.inputs(origin.dvc_lock), lineage.inputs(rebuilt.lock))}
    lines = [f"{len(outputs) - len(differing)} of {len(outputs)} outputs are byte for byte those that were recorded"]
    if inputs:
        lines.append(f"its stages read something else than they did then: {', '.join(sorted(inputs))}")
    if not rebuilt.same_libraries:
        lines.append(f"the libraries here are not those that it was built with: {LIBRARIES} has changed since")
    lines.append(f"version {version} rebuilt from commit {origin.git_commit[:7]}: {_conclusion(differing, rebuilt)}")
    return Verdict(not differing and rebuilt.deviation.largest == 0, lines)


def _differing(recorded: Mapping[Key, object], rebuilt: Mapping[Key, object]) -> list[Key]:
    """What was rebuilt, but not as recorded. What is recorded besides does not lead to the predictions."""
    return [key for key, value in rebuilt.items() if recorded.get(key) != value]


def _conclusion(differing: Sequence[str], rebuilt: Rebuilt) -> str:
    deviation = rebuilt.deviation
    named = f"these outputs differ: {', '.join(sorted(differing))}"
    if deviation.largest > 0:
        also = f"; {named}" if differing else ""
        return (
            f"predictions differ by up to {deviation.largest:.2g} ({WORDS.entity} {deviation.entity_id}) "
            f"over {deviation.entities:,} {WORDS.entities}{also}"
        )
    if differing:
        return f"the model answers the same over {deviation.entities:,} {WORDS.entities}, but {named}"
    return f"predictions identical over {deviation.entities:,} {WORDS.entities}"


def reproduce(settings: Settings, words: Sequence[str]) -> Verdict:
    """Build the version anew and compare. Raises NotRebuilt, NotRecorded, GitRefused."""
    if len(words) != 1:
        raise NotRebuilt("which version? try: make reproduce VERSION=3")
    (version,) = words
    git.refuse_without_commit()
    origin = registry.origin(registry.tracking_client(settings.tracking_url, settings.artifacts), version)
    refuse_unrecorded(version, origin)
    print(f"reproduce: version {version} was made from commit {origin.git_commit}", flush=True)
    return judge(version, origin, rebuild(origin))


def main() -> None:
    try:
        verdict = reproduce(load_settings(), sys.argv[1:])
    except (BadSettings, NotRebuilt, git.GitRefused, registry.NotRecorded) as refused:
        sys.exit(f"reproduce: {refused}")
    for line in verdict.lines:
        print(f"reproduce: {line}")
    sys.exit(0 if verdict.same else 1)


if __name__ == "__main__":
    environment.enforce()
    main()
