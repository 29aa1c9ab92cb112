"""raw/ in a clone: git ignores these files, so a clone has none of what a dataset reads."""

from pathlib import Path

RAW = Path("raw")


def link_into(clone: Path) -> None:
    """Let raw/ of the clone have the files of this folder's; links of an earlier time are renewed."""
    there = clone / RAW
    there.mkdir(parents=True, exist_ok=True)
    for left in there.iterdir():
        if left.is_symlink():
            left.unlink()
    for path in sorted(RAW.iterdir()) if RAW.is_dir() else ():
        if not (there / path.name).exists():  # git has it
            (there / path.name).symlink_to(path.resolve())
