"""`make new-problem NAME=noshows FROM=appointments.csv LABEL=missed`: generates a first problem in examples/noshows.

The file, csv or parquet, is copied to raw/. LABEL is the column to predict; it is not guessed, because a wrong guess
could go unnoticed. TIME is the column with the time of the event, needed only if the file has several times.
Everything else is inferred. Decisions that need a person are marked, and `make adopt` refuses until no mark is left.
"""

import re
import shutil
import sys
from pathlib import Path

from ontime import files
from ontime.counts import counted
from pipelines.layout import replacing_folder
from pipelines.operations.raw_files import RAW
from pipelines.tools import open_decisions, skeleton
from pipelines.tools.column_roles import ColumnRoles, NotWritten, assign_roles

EXAMPLES, TESTS = Path("examples"), Path("tests")
NAME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"


def write_problem(roles: ColumnRoles, source: Path) -> Path:
    """Write the folder of the problem, and copy the file to raw/. Returns the folder. Raises NotWritten.

    Never overwrites a file.
    """
    target, raw = EXAMPLES / roles.name, RAW / roles.file
    if target.exists():
        raise NotWritten(f"{target} exists: choose another NAME, or remove it first")
    test = f"test_{roles.name.replace('-', '_')}.py"
    if existing := sorted(TESTS.rglob(test)):
        raise NotWritten(f"{existing[0]} exists, and test files need unique names: choose another NAME")
    if raw.exists() and files.digest(raw) != files.digest(source):
        raise NotWritten(f"{raw} exists and differs from {source}: choose another NAME, or move it away first")
    contents = skeleton.problem_files(roles)
    if not raw.exists():
        with files.replacing(raw) as unfinished:
            shutil.copyfile(source, unfinished)
    with replacing_folder(target) as folder:
        for path, text in contents.items():
            files.write_text(folder / path, text)
    return target


def main(name: str, source: Path, label: str, time: str = "") -> None:
    try:
        if not re.fullmatch(NAME, name):
            raise NotWritten(f"the name {name} is not lower-case letters, digits and hyphens, such as noshows")
        if not source.is_file():
            raise NotWritten(f"{source} is not a file")
        target = write_problem(assign_roles(name, source, label, time), source)
    except NotWritten as error:
        sys.exit(f"new-problem: {error}")
    decisions = open_decisions.open_in(target)
    count = counted(len(decisions), "decision is", "decisions are")
    print(f"new-problem: wrote {target}; {count} open:", *decisions, sep="\n  ")
    print(f"Make each decision below its mark, and remove the mark; then commit, and make adopt FROM={target}")
