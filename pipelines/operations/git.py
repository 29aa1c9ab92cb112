"""Reads the git repository of this folder; errors carry git's own message.

Standard library only: `make` uses this module before anything is installed.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

NO_REPOSITORY = "fatal: not a git repository (or any"  # git's message for a broken .git file continues otherwise
FIRST_COMMIT = "git init && git add -A && git commit -m 'First commit'"


class GitRefused(RuntimeError):
    """git cannot read or clone this repository, or it has uncommitted changes; the message has the remedy."""


def query(*arguments: str) -> str | None:
    """git's output; None outside a repository, before the first commit, and for objects that do not exist.

    Raises GitRefused for a repository that git refuses to read, such as one that belongs to another user.
    """
    try:
        completed = _run(*arguments)
        if completed.returncode == 0:
            return completed.stdout
        refusal = _run("rev-parse", "--git-dir").stderr
    except FileNotFoundError:
        refusal = "git is not installed" if Path(".git").exists() else ""
    if refusal and not refusal.startswith(NO_REPOSITORY):
        message = " ".join(refusal.split()).replace("fatal: ", "", 1)
        raise GitRefused(f"cannot read the commit of this repository: git: {message}")
    return None


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}  # NO_REPOSITORY is English
    return subprocess.run(["git", *arguments], capture_output=True, text=True, env=environment)  # noqa: S603, S607  fixed words, the user's git


def commit() -> str | None:
    """The commit that is checked out, or None. Raises GitRefused."""
    output = query("rev-parse", "--verify", "HEAD")
    return None if output is None else output.strip()


def refuse_without_commit() -> None:
    """Raises GitRefused if this folder cannot be cloned: nothing is committed, or it is part of a larger repository."""
    if commit() is None:
        raise GitRefused(f"this needs a git repository with a commit, and nothing is committed yet: run {FIRST_COMMIT}")
    if inside := (query("rev-parse", "--show-prefix") or "").strip():
        raise GitRefused(
            f"this needs a git repository of its own, and this folder is {inside} in a larger one: "
            f"copy it elsewhere and run {FIRST_COMMIT} there"
        )


def refuse_uncommitted() -> None:
    """Raises GitRefused if there are uncommitted changes, for commands that change tracked files themselves."""
    if changed := (query("status", "--porcelain") or "").strip():
        lines = changed.splitlines()
        files = "1 file" if len(lines) == 1 else f"{len(lines)} files"
        raise GitRefused(f"commit or stash your changes first: {files}, such as {lines[0]}")
