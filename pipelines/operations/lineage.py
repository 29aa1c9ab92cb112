"""The lineage of the workspace's results: the git commit, and the hashes in dvc.lock."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from pipelines.operations import git

LOCK = Path("dvc.lock")
CODE = ("dvc.yaml", "pipelines", "requirements", "src")  # not parameters and results: they are recorded themselves


def outputs(lock_text: str) -> dict[str, str]:
    """Path of each stage's output -> its md5."""
    return {out["path"]: out["md5"] for stage in _stages(lock_text).values() for out in stage.get("outs", [])}


def inputs(lock_text: str) -> dict[tuple[str, str], Any]:
    """The inputs that no stage writes: (stage, file) -> md5, and (stage, `params.yaml train`) -> its values."""
    output_hashes = outputs(lock_text)
    stage_inputs: dict[tuple[str, str], Any] = {}
    for name, stage in _stages(lock_text).items():
        stage_inputs |= {
            (name, dep["path"]): dep["md5"] for dep in stage.get("deps", []) if dep["path"] not in output_hashes
        }
        for file, values in stage.get("params", {}).items():
            stage_inputs |= {(name, f"{file} {key}"): value for key, value in values.items()}
    return stage_inputs


def _stages(lock_text: str) -> dict[str, Any]:
    lock: dict[str, Any] = yaml.safe_load(lock_text) or {}
    return lock.get("stages", {})


def pipeline_id(hashes: dict[str, str]) -> str:
    """One digest of all outputs: equal results have the same id on any machine.

    >>> pipeline_id({"a": "1", "b": "2"}) == pipeline_id({"b": "2", "a": "1"})
    True
    """
    return sha256("\n".join(f"{path} {md5}" for path, md5 in sorted(hashes.items())).encode()).hexdigest()


def git_commit() -> str:
    """The commit of the code, with `-dirty` if a file of the code is changed or untracked.

    `unknown` if nothing is committed. Raises GitRefused if git refuses to read the repository.
    """
    commit = git.commit()
    if commit is None:
        return "unknown"
    changed = git.query("status", "--porcelain", "--", *CODE)
    return commit + ("-dirty" if changed else "")


def reproduction(hashes: dict[str, str]) -> str:
    """One line: whether every output has the hash in the committed dvc.lock, and which differ."""
    if git.commit() is None:
        return f"reproduced: unknown, because nothing is committed to compare with; run {git.FIRST_COMMIT}"
    committed = git.query("show", f"HEAD:./{LOCK}")
    if committed is None:
        return "reproduced: unknown, because no dvc.lock is committed to compare with"
    before = outputs(committed)
    differing = sorted(path for path in before.keys() | hashes.keys() if before.get(path) != hashes.get(path))
    if not differing:
        return f"reproduced: all {len(hashes)} outputs match the committed dvc.lock byte for byte"
    return f"reproduced: {len(hashes) - len(differing)} of {len(hashes)} outputs; these differ: {', '.join(differing)}"
