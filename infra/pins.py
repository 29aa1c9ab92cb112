"""Updates the digests of other people's images to those that their tags have now: `make pin-images`.

In infra/compose.yaml and, for the base image, in the Makefile. Tags stay: a new version is a decision of its own.
"""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

COMPOSE, MAKEFILE, DOCKERFILE = Path("infra/compose.yaml"), Path("Makefile"), Path("Dockerfile")
IMAGE = re.compile(r"(?P<tagged>image: (?P<tag>[\w./-]+:[\w.-]+))@sha256:[0-9a-f]{64}")
BASE = re.compile(r"(?P<tagged>^PYTHON_DIGEST \?= )sha256:[0-9a-f]{64}", re.MULTILINE)


def current_digest(tag: str) -> str:
    """The digest of a tag in its registry, for all architectures. Exits with the engine's message if there is none."""
    command = ["docker", "buildx", "imagetools", "inspect", "--format", "{{json .Manifest}}", tag]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own arguments
    if completed.returncode != 0:
        sys.exit(f"pin-images: {tag}: {completed.stderr.strip()}")
    digest: str = json.loads(completed.stdout)["digest"]
    return digest


def pinned(compose: str, makefile: str, base: str, digest_of: Callable[[str], str]) -> tuple[str, str]:
    """The texts of both files with the digests that `digest_of` returns; `base` is the tag of the base image."""
    return (
        IMAGE.sub(lambda match: f"{match['tagged']}@{digest_of(match['tag'])}", compose),
        BASE.sub(lambda match: f"{match['tagged']}{digest_of(base)}", makefile),
    )


def base_image() -> str:
    """The tag of the Dockerfile's base image. Exits if there is none."""
    match = re.search(r"^ARG PYTHON_TAG=(\S+)$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
    return f"python:{match[1]}" if match else sys.exit("pin-images: the Dockerfile has no PYTHON_TAG")


def main() -> None:
    before = COMPOSE.read_text(encoding="utf-8"), MAKEFILE.read_text(encoding="utf-8")
    after = pinned(*before, base_image(), current_digest)
    for path, text in zip((COMPOSE, MAKEFILE), after, strict=True):
        path.write_text(text, encoding="utf-8")
    print("pin-images: nothing has changed" if after == before else "pin-images: updated; git diff shows the digests")


if __name__ == "__main__":
    main()
