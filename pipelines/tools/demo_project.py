"""A temporary copy of the project, with a git repository, an environment and settings of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ontime import environment
from ontime.settings import PREFIX
from pipelines.operations import processes, raw_files

# Of the user's git: no signature, no hook, no name is needed for this commit.
COMMIT_OPTIONS = (
    "-c", "user.name=ontime demo", "-c", "user.email=demo@localhost", "-c", "commit.gpgsign=false",
    "-c", "core.hooksPath=/dev/null",
)  # fmt: skip
KEPT_SETTINGS = {f"{PREFIX}PROBLEM", f"{PREFIX}ACTOR"}  # which name no store


class GitMissing(RuntimeError):
    """git is not installed; the message says what needs it."""


@contextmanager
def temporary_project(*, keep: bool) -> Iterator[Path]:
    """Work in a copy of the project during the block; afterwards delete it, unless `keep`.

    The working folder and the environment of this process change, and stay changed: call it once in a process.
    """
    root, folder = Path.cwd(), Path(tempfile.mkdtemp(prefix="ontime-demo-")).resolve()
    try:
        copy_into(folder)
        raw_files.link_into(folder)
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name in KEPT_SETTINGS
        }
        variables = environment.project_variables(inherited, folder)
        os.environ.clear()
        os.environ.update(variables)
        os.chdir(folder)
        yield folder
    finally:
        os.chdir(root)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def copy_into(folder: Path) -> None:
    """Copy what git would keep of this folder, uncommitted changes included, as the only commit of a new repository.

    This folder's own repository is not read: it need not have one, as after the download of a zip.
    """
    _git("init", "--quiet", str(folder))
    own = (f"--git-dir={folder / '.git'}",)
    _git(*own, f"--work-tree={Path.cwd()}", "add", "--all")
    _git(*own, *COMMIT_OPTIONS, "commit", "--quiet", "--message", "The project at the start of the demo")
    _git(*own, f"--work-tree={folder}", "reset", "--quiet", "--hard")


def _git(*words: str) -> None:
    try:
        with processes.piped(["git", *words]) as process:
            processes.output_of(process, f"git {words[0]}")
    except FileNotFoundError:
        raise GitMissing("git is not installed, and a retraining runs in a clone of the repository") from None
