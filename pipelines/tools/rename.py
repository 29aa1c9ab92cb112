"""`make rename NAME=punctual`: renames the project in every tracked file and path.

Replaces the name wherever it is a whole word: the package, its imports, variables such as ONTIME_PORT, metrics, images,
buckets. LICENSE and NOTICE keep it, because they credit the origin of the code. A working tree with uncommitted
changes is refused, so `git reset --hard` undoes the renaming.
"""

import keyword
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ontime import locks
from ontime.counts import counted
from pipelines.operations import git

UNCHANGED = {"LICENSE", "NOTICE"}
# Valid as a Python package, a bucket, a load balancer and a host: the intersection of their rules.
VALID_NAME = re.compile(r"[a-z][a-z0-9]{2,15}")
NAMED_STATE = ("releases", "var/mlflow.db", "var/{name}.db")
# Sort imports and wrap lines again; lines that a longer name makes too long get a noqa, and lose it if it is unused.
RUFF_COMMANDS = (
    ("check", "--fix", "--fixable=I,RUF100", "--exit-zero", "--silent"),
    ("format", "--quiet"),
    ("check", "--select=E501", "--add-noqa", "--quiet"),
)
NEXT_STEPS = """rename: {old} is {new} in {files}; LICENSE and NOTICE keep the old name. Next:
  make check
  git add -A && git commit -m 'Rename {old} to {new}'
  make train            reports models that differ: their files contain the name
Before the commit, git reset --hard undoes the renaming."""


class NotRenamed(ValueError):
    """The project cannot take this name; the message says why, and what to do."""


def rename(new: str) -> tuple[str, int]:
    """Rename the project. Returns the old name, and the number of changed files. Raises NotRenamed, GitRefused."""
    git.refuse_without_commit()
    git.refuse_uncommitted()
    old = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    refuse_name(new, old)
    refuse_named_state(old)
    texts = tracked_texts()
    refuse_occurring(new, texts)
    changed = {path: after for path, text in texts.items() if (after := renamed(text, old, new)) != text}
    for path, text in changed.items():
        Path(path).write_bytes(text.encode())
    move(old, new)
    for arguments in RUFF_COMMANDS:
        subprocess.run([sys.executable, "-m", "ruff", *arguments], check=True)  # noqa: S603  our own words
    return old, len(changed)


def word(name: str) -> re.Pattern[str]:
    """A pattern for the name as a whole word, in any case.

    A letter may stand next to it only as part of an escape such as `\\b` in a regular expression. The examples of this
    command, after `NAME=`, do not match.
    """
    return re.compile(rf"(?:(?<![A-Za-z])|(?<=\\[a-z]))(?<!(?-i:NAME=)){name}(?![A-Za-z])", re.IGNORECASE)


def renamed(text: str, old: str, new: str) -> str:
    """The text with the new name, in the case of each replaced one.

    >>> renamed("OLD_PORT of Old, in src/old: bold letters", "old", "new")
    'NEW_PORT of New, in src/new: bold letters'
    """
    return word(old).sub(lambda match: _in_case_of(match[0], new), text)


def _in_case_of(sample: str, name: str) -> str:
    if sample.isupper():
        return name.upper()
    return name.capitalize() if sample[0].isupper() else name


def tracked_texts() -> dict[str, str]:
    """The contents of all tracked text files in which the name is replaced, by path."""
    texts = {}
    for path in _tracked():
        if path not in UNCHANGED and Path(path).is_file() and not Path(path).is_symlink():
            try:
                texts[path] = Path(path).read_bytes().decode()
            except UnicodeDecodeError:  # an image
                continue
    return texts


def _tracked() -> list[str]:
    return (git.query("ls-files", "-z") or "").split("\0")[:-1]


def refuse_name(new: str, old: str) -> None:
    """Raises NotRenamed for a name that is invalid, or that an importable package has."""
    if new == old:
        raise NotRenamed(f"NAME={new} is the name already")
    if not VALID_NAME.fullmatch(new):
        raise NotRenamed(f"NAME={new} is not 3 to 16 lower-case letters and digits that begin with a letter")
    if keyword.iskeyword(new) or new in sys.stdlib_module_names:
        raise NotRenamed(f"NAME={new} is a keyword or a standard module of Python; choose another name")
    if spec := find_spec(new):
        place = spec.origin or ", ".join(spec.submodule_search_locations or ())
        raise NotRenamed(f"NAME={new} would hide the package in {place}; choose another name")


def refuse_named_state(old: str) -> None:
    """Raises NotRenamed if there are releases, registered versions or predictions, which have the old name."""
    if existing := [path for each in NAMED_STATE if Path(path := each.format(name=old)).exists()]:
        raise NotRenamed(
            f"{', '.join(existing)} have the name {old} and would not be found under another: rename before the first "
            "make train, or remove them with make clean (make backup keeps a copy)"
        )


def refuse_occurring(new: str, texts: Mapping[str, str]) -> None:
    """Raises NotRenamed if the new name already occurs: the two meanings could not be told apart afterwards."""
    if used := [path for path, text in texts.items() if word(new).search(text) or word(new).search(path)]:
        others = f" and {len(used) - 1} more" if len(used) > 1 else ""
        raise NotRenamed(f"NAME={new} already occurs in {used[0]}{others}, with another meaning; choose another name")


def move(old: str, new: str) -> None:
    """Rename tracked paths, outermost folders first, so that ignored files in them move along. Raises NotRenamed."""
    while path := next((path for path in _tracked() if renamed(path, old, new) != path), None):
        parts = path.split("/")
        until = next(number for number, part in enumerate(parts, 1) if renamed(part, old, new) != part)
        source = "/".join(parts[:until])
        if git.query("mv", source, renamed(source, old, new)) is None:
            raise NotRenamed(f"git mv {source} failed; git reset --hard undoes the changes so far")


def main(name: str) -> None:
    try:
        with locks.hold(locks.WORKSPACE, "make rename"):
            old, count = rename(name)
    except (NotRenamed, git.GitRefused, locks.Busy) as error:
        sys.exit(f"rename: {error}")
    print(NEXT_STEPS.format(old=old, new=name, files=counted(count, "file")))
