"""What the tools read from the environment, the same for make and for who calls `python -m ...` without it.

environment.mk is the list. A variable that the caller has for his other projects, such as MLFLOW_REGISTRY_URI or
GIT_DIR, would otherwise decide where this project's models and commits go.
"""

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

RULES = Path(__file__).with_name("environment.mk")
ROOT = Path(__file__).parents[2]
OWN = {
    "ONTIME_PREFECT_URL": "PREFECT_API_URL",
    "ONTIME_DVC_SITE_CACHE": "DVC_SITE_CACHE_DIR",
}  # a setting -> the tool's
LOOPBACK = "127.0.0.1,localhost"


def settled(given: Mapping[str, str], root: Path = ROOT) -> dict[str, str]:
    """The environment of our commands in the folder `root`; settled again it is the same."""
    rules = RULES.read_text(encoding="utf-8").replace("\\\n", " ")
    foreign, kept = _list(rules, "FOREIGN"), _list(rules, "KEPT")
    stays = {name: value for name, value in given.items() if _in(name, kept) or not _in(name, foreign)}
    ours = dict(re.findall(r"^export (\w+) := ((?:\$\(CURDIR\)|[^$\n])*)$", rules, re.MULTILINE))
    return {
        **stays,
        **{name: value.replace("$(CURDIR)", str(root)) for name, value in ours.items()},
        **_without_git(root, stays),
        **{name: given[setting] for setting, name in OWN.items() if given.get(setting)},
        **_without_proxy(given),
        "PATH": _path(given.get("PATH", os.defpath)),
    }


def settle() -> None:
    """Start this process again in the settled environment, if it was started in another.

    Again and not further: Python and many a library have read theirs when they were loaded.
    """
    wanted = settled(os.environ)
    if wanted != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], wanted)  # noqa: S606  no shell is wanted


def _list(rules: str, name: str) -> Sequence[str]:
    found = re.search(rf"^{name} := (.*)$", rules, re.MULTILINE)
    return found[1].split() if found else ()


def _in(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern.replace("%", "*")) for pattern in patterns)


def _without_git(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Where DVC reads that there is no git repository, such as in a downloaded zip."""
    try:
        asked = subprocess.run(["git", "rev-parse", "--git-dir"], cwd=root, env={**environment}, capture_output=True)  # noqa: S607  the user's git
        found = asked.returncode == 0
    except OSError:  # git is not installed
        found = False
    return {} if found else {"DVC_SYSTEM_CONFIG_DIR": str(root / ".dvc/without-git")}


def _without_proxy(given: Mapping[str, str]) -> dict[str, str]:
    """A proxy that is set for the world is not asked for this machine."""
    upper, lower = given.get("NO_PROXY", ""), given.get("no_proxy", "")
    return {"NO_PROXY": _bypassed(upper), "no_proxy": _bypassed(lower or upper)}


def _bypassed(hosts: str) -> str:
    return hosts if "127.0.0.1" in hosts else ",".join(filter(None, (LOOPBACK, hosts)))


def _path(given: str) -> str:
    """A stage's `python` and a retraining's `dvc` are those that lie beside this interpreter."""
    first = str(Path(sys.executable).parent)
    return given if given.split(os.pathsep)[0] == first else os.pathsep.join((first, given))
