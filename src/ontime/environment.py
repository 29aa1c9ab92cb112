"""The environment variables of the tools, the same with make as with `python -m ...`.

environment.mk lists them. Without this, a variable that the user sets for other projects, such as MLFLOW_REGISTRY_URI
or GIT_DIR, would decide where this project's models and commits go.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ontime import files

RULES = Path(__file__).with_name("environment.mk")
ROOT = Path(__file__).parents[2]
FROM_SETTINGS = {  # our variable -> the tool's
    "ONTIME_PREFECT_URL": "PREFECT_API_URL",
    "ONTIME_DVC_SITE_CACHE": "DVC_SITE_CACHE_DIR",
}
LOOPBACK = "127.0.0.1,localhost"


def project_variables(variables: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    """The environment of this project's commands in the folder `root`, from the caller's `variables`. Idempotent."""
    rules = RULES.read_text(encoding="utf-8").replace("\\\n", " ")
    removed, exceptions = _list(rules, "FOREIGN"), _list(rules, "KEPT")
    inherited = {name: value for name, value in variables.items() if _in(name, exceptions) or not _in(name, removed)}
    exported = dict(re.findall(r"^export (\w+) := ((?:\$\(CURDIR\)|[^$\n])*)$", rules, re.MULTILINE))
    return {
        **inherited,
        **{name: value.replace("$(CURDIR)", str(root)) for name, value in exported.items()},
        **_without_git(root, inherited),
        **{name: variables[setting] for setting, name in FROM_SETTINGS.items() if variables.get(setting)},
        **_without_proxy(variables),
        "PATH": _path(variables.get("PATH", os.defpath)),
    }


def enforce() -> None:
    """Restart this process with `project_variables`, unless it already has them; make var/ private.

    A restart, because Python and many libraries read the environment when they are loaded.
    """
    variables = project_variables(os.environ)
    if variables != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], variables)  # noqa: S606  no shell is wanted
    files.close_var(ROOT / "var")


def _list(rules: str, name: str) -> Sequence[str]:
    match = re.search(rf"^{name} := (.*)$", rules, re.MULTILINE)
    return match[1].split() if match else ()


def _in(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern.replace("%", "*")) for pattern in patterns)


def _without_git(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that let DVC run outside a git repository, such as in a downloaded zip."""
    try:
        process = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=root, env={**environment}, capture_output=True)  # noqa: S607  the user's git
        in_git = process.returncode == 0
    except OSError:  # git is not installed
        in_git = False
    return {} if in_git else {"DVC_SYSTEM_CONFIG_DIR": str(root / ".dvc/without-git")}


def _without_proxy(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables that bypass a proxy for requests to this machine."""
    upper, lower = variables.get("NO_PROXY", ""), variables.get("no_proxy", "")
    return {"NO_PROXY": _bypassed(upper), "no_proxy": _bypassed(lower or upper)}


def _bypassed(hosts: str) -> str:
    return hosts if "127.0.0.1" in hosts else ",".join(filter(None, (LOOPBACK, hosts)))


def _path(path: str) -> str:
    """PATH with this interpreter's folder first: stages call its `python`, a retraining its `dvc`."""
    first = str(Path(sys.executable).parent)
    return path if path.split(os.pathsep)[0] == first else os.pathsep.join((first, path))
