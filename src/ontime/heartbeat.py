"""Two empty files beside the releases. Their times show how the mirror (pipelines/operations/mirror.py) is.

ROUND is touched before each attempt to copy, so an old one means that the process hangs. COPY is touched after each
attempt that succeeded, so an old one beside a new ROUND means that the store cannot be reached or is wrong.
"""

from pathlib import Path

ROUND, COPY = ".mirror-round", ".mirror-copy"


def last_copy_seconds(releases: Path) -> float | None:
    """The Unix time of the last attempt that succeeded; None if no mirror has copied into or from this folder."""
    try:
        return (releases / COPY).stat().st_mtime
    except FileNotFoundError:
        return None
