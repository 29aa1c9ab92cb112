"""The access modes of files, for tests."""

import stat
from pathlib import Path


def mode(path: Path) -> int:
    """The permission bits of a file or folder."""
    return stat.S_IMODE(path.lstat().st_mode)


def open_to_others(folder: Path) -> dict[str, str]:
    """Whatever in `folder`, itself included, a group or other users can access, with its mode."""
    everything = (folder, *folder.rglob("*"))
    return {
        str(path.relative_to(folder)): oct(mode(path))
        for path in everything
        if not path.is_symlink() and mode(path) & 0o077
    }
