"""Links the files of raw/ into a clone: git ignores them, so a clone lacks the files that a dataset reads."""

from pathlib import Path

RAW = Path("raw")


def link_into(clone: Path) -> None:
    """Link every file of raw/ that the clone lacks; earlier links are replaced."""
    target = clone / RAW
    target.mkdir(parents=True, exist_ok=True)
    for path in target.iterdir():
        if path.is_symlink():
            path.unlink()
    for path in sorted(RAW.iterdir()) if RAW.is_dir() else ():
        if not (target / path.name).exists():  # else it is tracked by git
            (target / path.name).symlink_to(path.resolve())
