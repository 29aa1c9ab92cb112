"""Scans the git history for secrets: every line that any commit added, and every commit message."""

import json
import re
import subprocess
from pathlib import Path

from infra.tests.tools import tool

PATTERNS = {
    "API key of ours": re.compile(r"\bontime_[A-Za-z0-9_-]{43}\b"),  # created by serving/keys.py
    "private key": re.compile("-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY"),  # detect-secrets skips large files
}
# Hashes: random, and half of all lines.
LOCKED = re.compile(r"^(    --hash=|PYTHON_DIGEST \?= |    image: \S+@)sha256:[0-9a-f]{64}( \\)?( #.*)?$")
# False positives: passwords in examples and in the tests' URLs, which lead nowhere; an invented commit and an invented
# head; and the words after "secret" or "password" in a comment, an option and a provider's schema.
MADE_UP = (
    "secret",
    "password",
    "theirs",
    "ours",
    "pw",
    "token",
    "PASSWORD",
    "0123456789abcdef0123456789abcdef01234567",
    "5f2c0e9d71ab",  # an invented head of the decision log, in the help of `make audit`
    "12d506dae8c60000",  # the start of 2013 as the id of a prediction, in an example
    "whoever.*",
    "true",
    "false( #.*)?",  # automountServiceAccountToken, with its comment
    "string",
    "only-for-these-tests",  # of the S3 server that the tests start
    "%s",  # a word that printf replaces
    "p%40ss",  # in the addresses that a test of the settings parses
    "ontime-[a-z-]+}?",  # names of Kubernetes secrets; the service's API keys have another separator
    "0af7651916cd43dd8448eb211c80319c",  # a trace and a span, in the example of W3C's Trace Context
    "b7ad6b7169203331",
    "a( read-only volume.*)?",  # the words after "tokens:" in a comment
    ".*2026-11-27T0730.*",  # a backup's address in an example
)


def secrets(repository: Path, folder: Path) -> list[str]:
    """Each finding as `file: kind`. `folder` must be empty; its contents are not needed afterwards.

    Raises AssertionError for a shallow clone, in which an empty result would mean nothing.
    """
    assert not (repository / ".git/shallow").exists(), f"{repository} is a shallow clone: git fetch --unshallow"
    for name, lines in _added(repository).items():
        # In one flat folder, because a path may have been a file and later a folder; the suffix determines the parser.
        (folder / name.replace("/", "__")).write_text("\n".join(lines) + "\n")
    made_up = [f"--exclude-secrets=^{value}$" for value in MADE_UP]
    command = [tool("detect-secrets"), "scan", "--all-files", "--no-verify", *made_up, "."]
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    matches = {f"{name}: {each['type']}" for name, secrets in json.loads(output)["results"].items() for each in secrets}
    texts = {path.name: path.read_text() for path in folder.iterdir()}
    more = {f"{name}: {kind}" for name, text in texts.items() for kind, one in PATTERNS.items() if one.search(text)}
    return sorted(matches | more)


def _added(repository: Path) -> dict[str, dict[str, None]]:
    """The distinct lines of each file, in order."""

    def git(*words: str) -> list[str]:
        command = ["git", "log", "--all", *words]
        completed = subprocess.run(command, cwd=repository, capture_output=True, check=True)
        return completed.stdout.decode(errors="replace").splitlines()

    added = {"messages.txt": dict.fromkeys(git("--format=%B"))}
    name = ""
    for line in git(
        "--patch", "--unified=0", "--no-renames", "--diff-merges=first-parent", "--no-ext-diff", "--format="
    ):
        if line.startswith("+++ "):
            name = line.removeprefix("+++ b/")
        elif line.startswith("+") and not LOCKED.match(line[1:]):
            added.setdefault(name, {})[line[1:]] = None
    return added
