"""`make rename NAME=punctual`: the project takes another name, in every tracked file and path.

The package, its imports, variables such as ONTIME_PORT, metrics, images, buckets: wherever the name stands as a word
of its own. LICENSE and NOTICE keep it, because they credit the origin of the code. What is not committed is refused,
so `git reset --hard` takes the renaming back.
"""

import keyword
import re
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from ontime import environment
from pipelines.operations import git

KEEP_IT = {"LICENSE", "NOTICE"}
# The narrowest of what it becomes: a Python package, a bucket, a load balancer, a host.
SHAPE = re.compile(r"[a-z][a-z0-9]{2,15}")
MADE_UNDER_IT = ("releases", "var/mlflow.db", "var/{name}.db")
# Imports are sorted by name and lines are wrapped by length; what cannot be wrapped is excused, as long as it must.
TIDY = (
    ("check", "--fix", "--fixable=I,RUF100", "--exit-zero", "--silent"),
    ("format", "--quiet"),
    ("check", "--select=E501", "--add-noqa", "--quiet"),
)
NEXT = """rename: {old} is {new} in {count} files. LICENSE and NOTICE keep the old name, to credit the origin. Next:
  make check
  git add -A && git commit -m 'Rename {old} to {new}'
  make train            says that the models differ: the name is in their files
Until the commit, git reset --hard takes it back."""


class NotRenamed(ValueError):
    """The project cannot take this name; the message says why, and what to do."""


def rename(new: str) -> tuple[str, int]:
    """The old name, and how many files have changed. Raises NotRenamed, GitRefused."""
    git.refuse_without_commit()
    git.refuse_uncommitted()
    old = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    refuse_name(new, old)
    refuse_made_under(old)
    found = texts()
    refuse_occurring(new, found)
    changed = {path: after for path, text in found.items() if (after := renamed(text, old, new)) != text}
    for path, text in changed.items():
        Path(path).write_bytes(text.encode())
    move(old, new)
    for words in TIDY:
        subprocess.run([sys.executable, "-m", "ruff", *words], check=True)  # noqa: S603  our own words
    return old, len(changed)


def word(name: str) -> re.Pattern[str]:
    """The name as a word of its own, in any case: beside letters it is a part of another one.

    A letter after a backslash is a regular expression's `\\b`, and `NAME=` is an example of this very command.
    """
    return re.compile(rf"(?:(?<![A-Za-z])|(?<=\\[a-z]))(?<!(?-i:NAME=)){name}(?![A-Za-z])", re.IGNORECASE)


def renamed(text: str, old: str, new: str) -> str:
    """The text with the new name, in the case in which the old one was written.

    >>> renamed("OLD_PORT of Old, in src/old: bold letters", "old", "new")
    'NEW_PORT of New, in src/new: bold letters'
    """
    return word(old).sub(lambda found: _in_case_of(found[0], new), text)


def _in_case_of(sample: str, name: str) -> str:
    if sample.isupper():
        return name.upper()
    return name.capitalize() if sample[0].isupper() else name


def texts() -> dict[str, str]:
    """Every tracked file that is a text and takes the new name."""
    found = {}
    for path in _tracked():
        if path not in KEEP_IT and Path(path).is_file() and not Path(path).is_symlink():
            try:
                found[path] = Path(path).read_bytes().decode()
            except UnicodeDecodeError:  # a picture
                continue
    return found


def _tracked() -> list[str]:
    return (git.query("ls-files", "-z") or "").split("\0")[:-1]


def refuse_name(new: str, old: str) -> None:
    """Raises NotRenamed for what cannot be the name of a package beside those that are installed."""
    if new == old:
        raise NotRenamed(f"NAME={new} is the name already")
    if not SHAPE.fullmatch(new):
        raise NotRenamed(f"NAME={new} is not 3 to 16 lower-case letters and digits, of which the first is a letter")
    if keyword.iskeyword(new) or new in sys.stdlib_module_names:
        raise NotRenamed(f"NAME={new} is a word of Python's own, or a module; choose another name")
    if spec := find_spec(new):
        place = spec.origin or ", ".join(spec.submodule_search_locations or ())
        raise NotRenamed(f"NAME={new} would hide what Python imports from {place}; choose another name")


def refuse_made_under(old: str) -> None:
    """Raises NotRenamed where releases, registered versions or predictions would be lost from sight."""
    if made := [path for each in MADE_UNDER_IT if Path(path := each.format(name=old)).exists()]:
        raise NotRenamed(
            f"{', '.join(made)} belong to the name {old}, and nothing would find them under another: "
            "rename before the first make train, or remove them with make clean (make backup keeps a copy)"
        )


def refuse_occurring(new: str, found: Mapping[str, str]) -> None:
    """Raises NotRenamed where the new name stands already: afterwards nobody could tell which is which."""
    if used := [path for path, text in found.items() if word(new).search(text) or word(new).search(path)]:
        others = f" and {len(used) - 1} more" if len(used) > 1 else ""
        raise NotRenamed(f"NAME={new} stands already in {used[0]}{others}, with another meaning; choose another name")


def move(old: str, new: str) -> None:
    """Folders before what is in them, with all that git ignores there. Raises NotRenamed."""
    while path := next((path for path in _tracked() if renamed(path, old, new) != path), None):
        parts = path.split("/")
        until = next(n for n, part in enumerate(parts, 1) if renamed(part, old, new) != part)
        source = "/".join(parts[:until])
        if git.query("mv", source, renamed(source, old, new)) is None:
            raise NotRenamed(f"git mv {source} failed; git reset --hard takes back what is done")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("rename: to which name? Try: make rename NAME=punctual")
    try:
        old, count = rename(sys.argv[1])
    except (NotRenamed, git.GitRefused) as refused:
        sys.exit(f"rename: {refused}")
    print(NEXT.format(old=old, new=sys.argv[1], count=count))


if __name__ == "__main__":
    environment.enforce()
    main()
