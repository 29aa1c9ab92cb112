"""Where the workspace's results come from: the git commit, and what dvc.lock says of every output."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from pipelines.operations import git

LOCK = Path("dvc.lock")
CODE = ("dvc.yaml", "pipelines", "requirements", "src")  # parameters and results are recorded whole, beside it


def outputs(lock_text: str) -> dict[str, str]:
    """Path of each stage's output -> its md5."""
    return {out["path"]: out["md5"] for stage in _stages(lock_text).values() for out in stage.get("outs", [])}


def inputs(lock_text: str) -> dict[tuple[str, str], Any]:
    """What each stage read that no stage makes: (stage, file) -> md5, (stage, `params.yaml train`) -> its values."""
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
    """One name for all outputs together: the same results have the same one, wherever they were made."""
    return sha256("\n".join(f"{path} {md5}" for path, md5 in sorted(hashes.items())).encode()).hexdigest()


def git_commit() -> str:
    """The commit of the code, with `-dirty` if a file of the code differs from it or is not in it.

    `unknown` where nothing is committed. Raises GitRefused where git does not read the repository.
    """
    commit = git.commit()
    if commit is None:
        return "unknown"
    changed = git.query("status", "--porcelain", "--", *CODE)
    return commit + ("-dirty" if changed else "")


def reproduction(hashes: dict[str, str]) -> str:
    """One line: whether every output is, byte for byte, the one that was committed, and which is not."""
    if git.commit() is None:
        return f"reproduced: nothing is committed to compare with or to rebuild this from; first {git.FIRST_COMMIT}"
    committed = git.query("show", f"HEAD:./{LOCK}")
    if committed is None:
        return "reproduced: no committed dvc.lock to compare with"
    before = outputs(committed)
    differing = sorted(path for path in before.keys() | hashes.keys() if before.get(path) != hashes.get(path))
    if not differing:
        return f"reproduced: all {len(hashes)} outputs are byte for byte those of the committed dvc.lock"
    return f"reproduced: {len(hashes) - len(differing)} of {len(hashes)} outputs; these differ: {', '.join(differing)}"
