"""The git repository that this folder is, if it is one, and git's own words where it refuses to read it.

Nothing but the standard library: `make` asks before anything is installed.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

NO_REPOSITORY = "fatal: not a git repository (or any"  # git's words; a broken link to one continues otherwise
FIRST_COMMIT = "git init && git add -A && git commit -m 'First commit'"


class GitRefused(RuntimeError):
    """git does not read this repository, or there is none that can be cloned; the message says why and what to do."""


def query(*arguments: str) -> str | None:
    """What git answers; None outside a repository, before its first commit, and for what is not in it.

    Raises GitRefused for a repository that git does not read, such as one that belongs to another user.
    """
    try:
        completed = _run(*arguments)
        if completed.returncode == 0:
            return completed.stdout
        refusal = _run("rev-parse", "--git-dir").stderr
    except FileNotFoundError:
        refusal = "git is not installed" if Path(".git").exists() else ""
    if refusal and not refusal.startswith(NO_REPOSITORY):
        words = " ".join(refusal.split()).replace("fatal: ", "", 1)
        raise GitRefused(f"the commit of this repository cannot be read, because git says: {words}")
    return None


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}  # NO_REPOSITORY is English
    return subprocess.run(["git", *arguments], capture_output=True, text=True, env=environment)  # noqa: S603, S607  fixed words, the user's git


def commit() -> str | None:
    """The commit that is checked out, or None. Raises GitRefused."""
    answer = query("rev-parse", "--verify", "HEAD")
    return None if answer is None else answer.strip()


def refuse_without_commit() -> None:
    """Raises GitRefused where no clone of this folder can be made, because nothing is committed in it."""
    if commit() is None:
        raise GitRefused(f"this needs a repository with a commit, and nothing is committed yet: first {FIRST_COMMIT}")
    if inside := (query("rev-parse", "--show-prefix") or "").strip():
        raise GitRefused(
            f"this needs a repository of its own, and this folder is only {inside} in a larger one: "
            f"copy it to a place of its own and there {FIRST_COMMIT}"
        )


def refuse_uncommitted() -> None:
    """Raises GitRefused for work that a command, which changes tracked files, could mix up with its own."""
    if changed := (query("status", "--porcelain") or "").strip():
        lines = changed.splitlines()
        raise GitRefused(f"commit or stash your changes first: {len(lines)} files, such as {lines[0]}")
