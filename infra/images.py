"""Where an image comes from: labels and a version tag when it is built, and whether it is still the newest commit's.

    python -m infra.images options ontime-serve             options of `docker build`
    python -m infra.images version                          the tag, such as 0.1.0
    python -m infra.images outdated ontime-serve ...        a sentence for each image that another commit has built

Standard library only: `make image` needs no installation.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.operations import git

LABEL = "org.opencontainers.image."
REVISION = f"{LABEL}revision"
SHOWN = 12  # digits of a commit in a message


def version() -> str:
    """The project's version: the tag of its images, and without the `v` of the git tag."""
    match = re.search(r'^version = "(.+)"$', Path("pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if match is None:
        sys.exit("image: pyproject.toml has no version")
    return match[1]


def revision() -> str | None:
    """The commit that is checked out, with `-dirty` if files differ from it; None without one."""
    commit = git.commit()
    return f"{commit}-dirty" if commit and git.query("status", "--porcelain") else commit


def web_address(remote: str) -> str | None:
    """The https address of a git remote, without credentials; None for a folder.

    >>> web_address("git@github.com:owner/name.git")
    'https://github.com/owner/name'
    >>> web_address("https://user:token@github.com/owner/name")
    'https://github.com/owner/name'
    """
    match = re.fullmatch(r"(?:(?:https|ssh)://)?(?:[^@/]+@)?([\w.-]+\.[a-z]+)[:/](\S+?)(?:\.git)?/?", remote)
    return None if match is None else f"https://{match[1]}/{match[2]}"


def labels() -> dict[str, str]:
    """The labels that git knows, by the names of the OCI image specification."""
    remote = git.query("config", "--get", "remote.origin.url") or ""
    values = {
        "version": version(),
        "revision": revision(),
        "source": web_address(remote.strip()),
        # Of the commit, not of the build, so that the same commit has the same labels.
        "created": (git.query("log", "-1", "--format=%cI") or "").strip(),
    }
    return {f"{LABEL}{name}": value for name, value in values.items() if value}


def options(image: str) -> list[str]:
    return ["-t", f"{image}:{version()}", *(word for pair in labels().items() for word in ("--label", "=".join(pair)))]


def outdated(labels_of: Mapping[str, Mapping[str, str]], head: str | None) -> list[str]:
    """A sentence for each image that was not built from `head`."""
    return [
        f"{image} was built from {of_image[REVISION][:SHOWN]}, and the folder is at {head[:SHOWN]}: "
        "run `make image` to rebuild it"
        for image, of_image in labels_of.items()
        if head and of_image.get(REVISION, head).removesuffix("-dirty") != head
    ]


def built(images: Sequence[str]) -> dict[str, dict[str, str]]:
    """The labels of local images."""
    command = ["docker", "image", "inspect", "--format", "{{json .Config.Labels}}", *images]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603  our own arguments
    return dict(zip(images, map(json.loads, output.splitlines()), strict=True))


def main() -> None:
    command, *images = sys.argv[1:]
    if command == "options":
        print(" ".join(options(images[0])))
    elif command == "version":
        print(version())
    else:
        for sentence in outdated(built(images), git.commit()):
            print(f"stack: {sentence}")


if __name__ == "__main__":
    main()
