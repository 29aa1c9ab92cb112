"""Checks the targets and variables of a `make` command before anything runs.

    python -m pipelines.tools.usage "promote rollback"       make passes the variables in the environment

The example in an error message is that of the target's line in `make help`. This module runs before the installation,
which checks the version of Python: it uses the standard library only, and syntax that old versions can parse.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from pipelines.operations import git

MAKEFILE = Path("Makefile")

# Variable -> a pattern for the whole value, and its description.
DAY = (r"\d{4}-\d{2}-\d{2}", "a day such as 2013-06-01")
SHAPES = {
    "AGAINST_FROM": DAY,
    "AGAINST_UNTIL": DAY,
    "BASE": (r"[^-].*", "a git revision"),
    "CLEAN": (r"1", "1"),
    "CONTEXT": (r"[^-\s]\S*", "a context of kubectl's configuration (`kubectl config get-contexts` lists them)"),
    "DO": (r".+", "a command"),
    "DRY_RUN": (r"1", "1"),
    "ENGINE": (r"local|dask|spark", "local, dask or spark"),
    "ENTITY": (r"[A-Za-z0-9][A-Za-z0-9_.:+-]*( +[A-Za-z0-9][A-Za-z0-9_.:+-]*)*", "the id of an entity, or several"),
    "EXAMPLES": (r"[1-9]\d*", "a number of requests"),
    "FORCE": (r"1", "1"),
    "FROM": (r"[^-].*", "a folder (a backup, a problem), a file, or the first day of a diagnosis or a replay"),
    "HEAD": (r"[0-9a-f]{12,64}", "a head that `make audit` has printed, or its first 12 digits or more"),
    "IDEA": (r"[A-Za-z_]\w*", "the name of an idea in problem/ideas.py"),
    "LABEL": (r"[^-].*", "the column that is predicted"),
    "MONTHS": (r"[1-9]|1[0-2]", "a number of months from 1 to 12"),
    "NAME": (r"[A-Za-z0-9._-]{1,40}", "a name of at most 40 letters, digits, dots, hyphens and underscores"),
    "NOW": (r"1", "1"),
    "OVERLAY": (r"[a-z][a-z0-9-]*", "a folder of infra/kubernetes/overlays"),
    "PART": (r"[a-z][\w/.]*", "a folder or a file of tests/, such as serving"),
    "REASON": (r"(?s)\s*\S.*", "a reason in words"),
    "REPLACE": (r"1", "1"),
    "REQUESTS": (r"[1-9]\d{3,}", "a number of requests, 1000 or more"),
    "ROWS": (r"[1-9]\d{5,8}", "a number of predictions, from 400000"),
    "SCOPES": (
        r"(predict|outcomes|admin)(,(predict|outcomes|admin))*",
        "a list out of predict, outcomes, admin",
    ),
    "SHARE": (r"0|1|[01]?\.0*|0?\.\d+", "a share from 0 to 1"),
    "SLOWEST": (r"[1-9]\d*", "a number of tests"),
    "TIME": (r"[^-].*", "the column with the time of the event"),
    "TO": (r"[^-].*", "a folder"),
    "TRACES": (r"1", "1"),
    "UNTIL": DAY,
    "UPGRADE": (r"1", "1"),
    "VERSION": (r"[1-9]\d*", "the number of a version"),
    "DATASET": (r"[a-z][a-z0-9-]*", "a dataset that problem/data.py declares"),
    "VOLUMES": (r"1", "1"),
}
# Target -> its required variables.
NEEDS = {
    "adopt": ["FROM"],
    "decisions": ["FROM"],
    "new-problem": ["NAME", "FROM", "LABEL"],
    "promote": ["VERSION"],
    "approve": ["VERSION", "REASON"],
    "pack": ["VERSION", "TO"],
    "forget": ["ENTITY", "REASON"],
    "export": ["ENTITY", "TO"],
    "shadow": ["VERSION"],
    "canary": ["VERSION", "SHARE"],
    "reproduce": ["VERSION"],
    "restore": ["FROM"],
    "score": ["FROM", "TO"],
    "key": ["NAME", "SCOPES"],
    "rename": ["NAME"],
    "stack-run": ["DO"],
    "deploy": ["CONTEXT", "FROM"],
    "rehearsal": ["CONTEXT"],
    "stack-restore": ["FROM"],
}
# Target -> its optional variables.
TAKES = {
    "adopt": ["REPLACE"],
    "install": ["ENGINE"],
    "image": ["ENGINE", "TRACES"],
    "train": ["ENGINE"],
    "score": ["ENGINE"],
    "new-problem": ["TIME"],
    "promote": ["FORCE"],
    "audit": ["HEAD"],
    "metrics": ["BASE"],
    "study-features": ["IDEA"],
    "diagnose": ["FROM", "UNTIL", "AGAINST_FROM", "AGAINST_UNTIL"],
    "retrain": ["NOW"],
    "prune": ["DRY_RUN"],
    "performance": ["ENGINE", "FROM", "UNTIL"],
    "replay": ["DATASET", "FROM", "MONTHS", "UNTIL"],
    "backup": ["TO"],
    "restore": ["REPLACE"],
    "stack-backup": ["TO"],
    "test": ["PART", "SLOWEST"],
    "test-quick": ["PART"],
    "test-slowest": ["PART", "SLOWEST"],
    "stack-down": ["VOLUMES"],
    "deploy": ["OVERLAY"],
    "rehearsal": ["OVERLAY", "CLEAN", "ENGINE"],
    "fuzz": ["EXAMPLES"],
    "bench-soak": ["REQUESTS"],
    "bench-store": ["ROWS"],
    "lock": ["UPGRADE"],
}
SETTINGS = ("HOST", "PORT", "WORKERS")  # the service's settings that one might pass to make; all are in settings.py
CLONES = ("reproduce", "retrain", "replay")  # run in a clone of the repository


def targets() -> dict[str, str]:
    """Each target of the Makefile, with its line of `make help`."""
    return dict(re.findall(r"^([a-z-]+):.*?## (.*)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE))


def refusal(goal: str, values: Mapping[str, str], arguments: Sequence[str] = ()) -> str | None:
    """Why a target is refused, with a correct example; None if it is accepted.

    `arguments` are the names of the variables on make's command line.
    """
    lines = targets()
    if goal not in lines:
        return f"make: there is no target {goal}{_suggestion(goal, list(lines))}; `make help` lists them"
    mistake = _mistake(goal, values, arguments)
    if mistake is None:
        return None
    example = re.search(rf"\bmake {goal}( \w+=(\"[^\"]*\"|[^\s;]+))+", lines[goal])
    return f"{goal}: {mistake}; for example: {example.group() if example else f'make {goal}'}"


def _mistake(goal: str, values: Mapping[str, str], arguments: Sequence[str]) -> str | None:
    needs = NEEDS.get(goal, ())
    takes = [*needs, *TAKES.get(goal, ())]
    for name in arguments:
        if name not in SHAPES and get_close_matches(name.upper(), takes):
            return f"{name}= is unknown{_suggestion(name.upper(), takes)}"
    for name in takes:
        shape, description = SHAPES[name]
        if not values.get(name):
            if name in needs:
                return f"{name}= is missing ({description})"
        elif not re.fullmatch(shape, values[name]):
            return f"{name}={values[name]} is not {description}"
    return None


def _suggestion(word: str, candidates: Sequence[str]) -> str:
    near = get_close_matches(word, candidates, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def command_line_variables(makeflags: str) -> list[str]:
    """The names of the variables on make's command line, which MAKEFLAGS lists after the flags.

    >>> command_line_variables(r"n -- VERSION=1 DO=make\\ replay\\ MONTHS=1")
    ['VERSION', 'DO']
    """
    return re.findall(r"(?<!\\) (\w+)=", f" {makeflags}".partition(" --")[2])


def unused_variable(goals: Sequence[str], arguments: Sequence[str]) -> str | None:
    """An error message for the first variable on the command line that none of the targets uses."""
    used = {name for goal in goals for name in (*NEEDS.get(goal, ()), *TAKES.get(goal, ()))}
    for name in arguments:
        if name in SETTINGS:
            return f"{goals[0]}: {name}= is unknown; set it in the environment: ONTIME_{name}=... make serve"
        if name in SHAPES and name not in used:
            return f"{' '.join(goals)}: {name}= is not used by this target; `make help` lists the variables of each"
    return None


def git_refusal(goal: str) -> str | None:
    """Why git prevents a target: a training records the commit, and a clone needs one."""
    try:
        if goal in CLONES:
            git.refuse_without_commit()
        elif goal == "train":
            git.commit()
    except git.GitRefused as error:
        return f"{goal}: {error}"
    return None


def main() -> None:
    goals, arguments = sys.argv[1].split(), command_line_variables(os.environ.get("MAKEFLAGS", ""))
    for goal in goals:
        message = refusal(goal, os.environ, arguments) or git_refusal(goal)
        if message:
            sys.exit(message)
    if goals and (message := unused_variable(goals, arguments)):
        sys.exit(message)


if __name__ == "__main__":
    main()
