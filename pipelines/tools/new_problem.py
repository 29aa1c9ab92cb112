"""`make new-problem NAME=noshows FROM=appointments.csv LABEL=missed`: a problem to go on from, in examples/noshows.

The file, csv or parquet, is copied to raw/. LABEL is the column that is predicted: a guess could be wrong without
anybody noticing. TIME is the column of the event, asked for where the file has several times. Everything else is
guessed; what a person has to decide is marked, and `make adopt` refuses until no mark is left.
"""

import re
import shutil
import sys
from pathlib import Path

from ontime import environment, files
from pipelines.layout import replacing_folder
from pipelines.operations.raw_files import RAW
from pipelines.tools import open_decisions, skeleton
from pipelines.tools.column_roles import Choice, NotWritten, choose

EXAMPLES, TESTS = Path("examples"), Path("tests")
NAME = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"


def write(choice: Choice, source: Path) -> Path:
    """The folder of the problem, whole, and the file in raw/. Raises NotWritten; never overwrites."""
    target, raw = EXAMPLES / choice.name, RAW / choice.file
    if target.exists():
        raise NotWritten(f"{target} exists: choose another NAME, or remove it first")
    test = f"test_{choice.name.replace('-', '_')}.py"
    if taken := sorted(TESTS.rglob(test)):
        raise NotWritten(f"{taken[0]} exists, and pytest wants other names: choose another NAME")
    if raw.exists() and files.digest(raw) != files.digest(source):
        raise NotWritten(f"{raw} is another file than {source}: choose another NAME, or move it away first")
    contents = skeleton.texts(choice)
    if not raw.exists():
        with files.replacing(raw) as aside:
            shutil.copyfile(source, aside)
    with replacing_folder(target) as folder:
        for path, text in contents.items():
            files.write_text(folder / path, text)
    return target


def main() -> None:
    name, source, label, time = (*sys.argv[1:], "")[:4]
    try:
        if not re.fullmatch(NAME, name):
            raise NotWritten(f"NAME={name} is not lower-case letters, digits and hyphens, such as noshows")
        if not Path(source).is_file():
            raise NotWritten(f"FROM={source} is not a file")
        target = write(choose(name, Path(source), label, time), Path(source))
    except NotWritten as refused:
        sys.exit(f"new-problem: {refused}")
    marked = open_decisions.open_in(target)
    print(f"new-problem: {target} is written, and {len(marked)} decisions are yours:", *marked, sep="\n  ")
    print(f"Answer each below its mark and remove the mark; commit, and then make adopt FROM={target}")


if __name__ == "__main__":
    environment.enforce()
    main()
