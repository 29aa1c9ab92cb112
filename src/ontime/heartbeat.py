"""Two empty files beside the releases. Their times show how the mirror (pipelines/operations/mirror.py) is.

ROUND is touched before each attempt to copy, so an old one means that the process hangs. COPY is touched after each
attempt that succeeded, so an old one beside a new ROUND means that the store cannot be reached or is wrong.

    python -m ontime.heartbeat round    for probes, in images without a shell: fails if ROUND is missing or old
    python -m ontime.heartbeat copy     ... or COPY; both in the folder `releases` of the working directory
"""

import sys
import time
from pathlib import Path

ROUND, COPY = ".mirror-round", ".mirror-copy"
PROBED = {"round": ROUND, "copy": COPY}
MAX_AGE_SECONDS = 300


def last_copy_seconds(releases: Path) -> float | None:
    """The Unix time of the last attempt that succeeded; None if no mirror has copied into or from this folder."""
    return _touched_seconds(releases / COPY)


def _touched_seconds(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def main() -> None:
    path = Path("releases") / PROBED[sys.argv[1]]
    touched = _touched_seconds(path)
    if touched is None or time.time() - touched > MAX_AGE_SECONDS:
        sys.exit(f"heartbeat: {path} is missing or older than {MAX_AGE_SECONDS} seconds")


if __name__ == "__main__":
    main()
