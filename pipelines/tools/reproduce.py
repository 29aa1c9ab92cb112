"""`make reproduce VERSION=n`: rebuilds a registered version, and checks that outputs and predictions are the same.

MLflow has the version's commit, parameters, hashes and model. The exit status is 0 only if every output and every
prediction is the same.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from ontime import registry
from ontime.registry import Origin
from ontime.schema import WORDS
from ontime.settings import BadSettings, Settings, load_settings
from pipelines.operations import git, lineage
from pipelines.tools.rebuild import LIBRARIES, NotRebuilt, Rebuild, rebuild

Key = TypeVar("Key")


class Reproduction(NamedTuple):
    identical: bool
    lines: list[str]  # the last one is the conclusion


def refuse_unrecorded(version: str, origin: Origin) -> None:
    """Raises NotRebuilt for a version whose code was not committed, or whose record is inconsistent."""
    if origin.git_commit == "unknown":
        raise NotRebuilt(f"version {version} was trained without a git commit, so its code is not known")
    if origin.git_commit.endswith("-dirty"):
        commit = origin.git_commit.removesuffix("-dirty")
        raise NotRebuilt(
            f"the code of version {version} was never committed: it was {commit} with uncommitted changes. "
            "It cannot be rebuilt; next time, commit before `make train`"
        )
    if lineage.pipeline_id(lineage.outputs(origin.dvc_lock)) != origin.pipeline:
        raise NotRebuilt(f"the record of version {version} is inconsistent: its dvc.lock has other hashes than its run")


def compare_with_record(version: str, origin: Origin, rebuilt: Rebuild) -> Reproduction:
    """Lists which outputs, inputs and predictions of a rebuilt version differ from its record."""
    outputs = lineage.outputs(rebuilt.lock)
    differing = _differing(lineage.outputs(origin.dvc_lock), outputs)
    inputs = {name for _, name in _differing(lineage.inputs(origin.dvc_lock), lineage.inputs(rebuilt.lock))}
    lines = [f"{len(outputs) - len(differing)} of {len(outputs)} outputs are byte for byte as recorded"]
    if inputs:
        lines.append(f"the inputs of its stages differ from the record: {', '.join(sorted(inputs))}")
    if not rebuilt.same_libraries:
        lines.append(f"the libraries differ from those of its commit: {LIBRARIES} has changed since")
    lines.append(f"version {version} rebuilt from commit {origin.git_commit[:7]}: {_conclusion(differing, rebuilt)}")
    return Reproduction(not differing and rebuilt.deviation.largest == 0, lines)


def _differing(recorded: Mapping[Key, object], rebuilt: Mapping[Key, object]) -> list[Key]:
    """The keys of rebuilt values that differ from the record. Other recorded values do not affect the predictions."""
    return [key for key, value in rebuilt.items() if recorded.get(key) != value]


def _conclusion(differing: Sequence[str], rebuilt: Rebuild) -> str:
    deviation = rebuilt.deviation
    named = f"these outputs differ: {', '.join(sorted(differing))}"
    if deviation.largest > 0:
        outputs = f"; {named}" if differing else ""
        return (
            f"predictions differ by up to {deviation.largest:.2g} ({WORDS.entity} {deviation.entity_id}) "
            f"over {deviation.entities:,} {WORDS.entities}{outputs}"
        )
    if differing:
        return f"predictions identical over {deviation.entities:,} {WORDS.entities}, but {named}"
    return f"predictions identical over {deviation.entities:,} {WORDS.entities}"


def reproduce(settings: Settings, version: str) -> Reproduction:
    """Rebuild a version, and compare it with its record. Raises NotRebuilt, NotRecorded, GitRefused."""
    git.refuse_without_commit()
    origin = registry.origin(registry.tracking_client(settings.tracking_url, settings.artifacts), version)
    refuse_unrecorded(version, origin)
    print(f"reproduce: version {version} was trained at commit {origin.git_commit}", file=sys.stderr, flush=True)
    return compare_with_record(version, origin, rebuild(origin))


def main(version: str, *, as_json: bool = False) -> None:
    try:
        reproduction = reproduce(load_settings(), version)
    except (BadSettings, NotRebuilt, git.GitRefused, registry.NotRecorded) as error:
        sys.exit(f"reproduce: {error}")
    if as_json:
        print(json.dumps(reproduction._asdict()))
    else:
        for line in reproduction.lines:
            print(f"reproduce: {line}")
    sys.exit(0 if reproduction.identical else 1)
