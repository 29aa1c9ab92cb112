"""What `make` was asked for, looked at before anything runs: targets that exist, with the values that they take.

    python -m pipelines.tools.usage "promote rollback"       the values are in the environment, where make puts them

The example in a refusal is the one in the target's line of `make help`. Nothing but the standard library, and nothing
that an old Python cannot read: it runs before anything is installed, and the installation tells which Python it needs.
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

# Variable -> the whole of what it may be, and that in words.
DAY = (r"\d{4}-\d{2}-\d{2}", "a day such as 2013-06-01")
SHAPES = {
    "AGAINST_FROM": DAY,
    "AGAINST_UNTIL": DAY,
    "BASE": (r"[^-].*", "a git revision"),
    "DO": (r".+", "a command"),
    "EXAMPLES": (r"[1-9]\d*", "a number of requests"),
    "FORCE": (r"1", "1"),
    "FROM": (r"[^-].*", "a folder (a backup, a problem), a file, or the first day of a diagnosis or a replay"),
    "LABEL": (r"[^-].*", "the column that is predicted"),
    "MONTHS": (r"[1-9]|1[0-2]", "a number of months from 1 to 12"),
    "NAME": (r"[A-Za-z0-9._-]{1,40}", "a name of at most 40 letters, digits, dots, hyphens and underscores"),
    "NOW": (r"1", "1"),
    "PART": (r"[a-z][\w/.]*", "a folder or a file of tests/, such as serving"),
    "REPLACE": (r"1", "1"),
    "SCOPES": (
        r"(predict|outcomes|admin)(,(predict|outcomes|admin))*",
        "a list out of predict, outcomes, admin",
    ),
    "SHARE": (r"0|1|[01]?\.0*|0?\.\d+", "a share from 0 to 1"),
    "SLOWEST": (r"[1-9]\d*", "a number of tests"),
    "TIME": (r"[^-].*", "the column with the time of the event"),
    "TO": (r"[^-].*", "a folder"),
    "UNTIL": DAY,
    "UPGRADE": (r"1", "1"),
    "VERSION": (r"[1-9]\d*", "the number of a version"),
    "DATASET": (r"[a-z][a-z0-9-]*", "a dataset that problem/data.py declares"),
    "VOLUMES": (r"1", "1"),
}
# Target -> the variables that it needs, and those that it takes as well.
NEEDS = {
    "adopt": ["FROM"],
    "decisions": ["FROM"],
    "new-problem": ["NAME", "FROM", "LABEL"],
    "promote": ["VERSION"],
    "shadow": ["VERSION"],
    "canary": ["VERSION", "SHARE"],
    "reproduce": ["VERSION"],
    "restore": ["FROM"],
    "key": ["NAME", "SCOPES"],
    "rename": ["NAME"],
    "stack-run": ["DO"],
    "stack-restore": ["FROM"],
}
TAKES = {
    "adopt": ["REPLACE"],
    "new-problem": ["TIME"],
    "promote": ["FORCE"],
    "metrics": ["BASE"],
    "diagnose": ["FROM", "UNTIL", "AGAINST_FROM", "AGAINST_UNTIL"],
    "retrain": ["NOW"],
    "replay": ["DATASET", "FROM", "MONTHS", "UNTIL"],
    "backup": ["TO"],
    "restore": ["REPLACE"],
    "stack-backup": ["TO"],
    "test": ["PART", "SLOWEST"],
    "test-quick": ["PART"],
    "test-slowest": ["PART", "SLOWEST"],
    "stack-down": ["VOLUMES"],
    "fuzz": ["EXAMPLES"],
    "lock": ["UPGRADE"],
}
SETTINGS = ("HOST", "PORT", "WORKERS")  # of the service, which has more: src/ontime/settings.py
CLONES = ("reproduce", "retrain", "replay")  # what they train is what is committed


def targets() -> dict[str, str]:
    """Each target of the Makefile, with its line of `make help`."""
    return dict(re.findall(r"^([a-z-]+):.*?## (.*)$", MAKEFILE.read_text(encoding="utf-8"), re.MULTILINE))


def refusal(goal: str, values: Mapping[str, str], given: Sequence[str] = ()) -> str | None:
    """Why `make` cannot do that, and what it could; None where it can. `given`: the variables on its command line."""
    known = targets()
    if goal not in known:
        return f"make: there is no target {goal}{_guess(goal, list(known))}; `make help` lists them"
    wrong = _wrong(goal, values, given)
    if wrong is None:
        return None
    example = re.search(rf"\bmake {goal}( \w+=(\"[^\"]*\"|[^\s;]+))+", known[goal])
    return f"{goal}: {wrong}; for example: {example.group() if example else f'make {goal}'}"


def _wrong(goal: str, values: Mapping[str, str], given: Sequence[str]) -> str | None:
    needs = NEEDS.get(goal, ())
    takes = [*needs, *TAKES.get(goal, ())]
    for name in given:
        if name not in SHAPES and get_close_matches(name.upper(), takes):
            return f"{name}= is unknown{_guess(name.upper(), takes)}"
    for name in takes:
        shape, words = SHAPES[name]
        if not values.get(name):
            if name in needs:
                return f"{name}= is missing ({words})"
        elif not re.fullmatch(shape, values[name]):
            return f"{name}={values[name]} is not {words}"
    return None


def _guess(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def given_variables(makeflags: str) -> list[str]:
    """The names of the variables on make's command line, as it writes them down: after its flags."""
    return re.findall(r"(?<!\\) (\w+)=", f" {makeflags}".partition(" --")[2])


def stray(goals: Sequence[str], given: Sequence[str]) -> str | None:
    """Why a variable on the command line would be lost: none of the targets looks at it."""
    taken = {name for goal in goals for name in (*NEEDS.get(goal, ()), *TAKES.get(goal, ()))}
    for name in given:
        if name in SETTINGS:
            return f"{goals[0]}: {name}= is unknown; the service's setting comes first: ONTIME_{name}=... make serve"
        if name in SHAPES and name not in taken:
            return f"{' '.join(goals)}: {name}= says nothing to this target; `make help` shows what it takes"
    return None


def git_refusal(goal: str) -> str | None:
    """Why git stands in the way: a training records its commit, and what works on a clone needs one."""
    try:
        if goal in CLONES:
            git.refuse_without_commit()
        elif goal == "train":
            git.commit()
    except git.GitRefused as refused:
        return f"{goal}: {refused}"
    return None


def main() -> None:
    goals, given = sys.argv[1].split(), given_variables(os.environ.get("MAKEFLAGS", ""))
    for goal in goals:
        refused = refusal(goal, os.environ, given) or git_refusal(goal)
        if refused:
            sys.exit(refused)
    if goals and (lost := stray(goals, given)):
        sys.exit(lost)


if __name__ == "__main__":
    main()
