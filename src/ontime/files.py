"""Atomic file writes, reads with a limit, and files that only their owner can read.

A reader sees the old file or the new one, never a part of one. What production writes under var/ (predictions, keys,
logs, backups) is private: folders 0700, files 0600, whatever the umask is. No group needs access: all containers that
share a volume run as the same user (infra/compose.yaml, infra/kubernetes). Releases are the exception: they stay
readable, because the service may run as another user than the pipelines that publish them.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import file_digest
from pathlib import Path

PRIVATE, READABLE = 0o600, 0o644  # modes of files
PRIVATE_FOLDER, READABLE_FOLDER = 0o700, 0o755
PRIVATE_UMASK = 0o077  # for child processes that write under var/


@contextmanager
def replacing(path: Path, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it replaces `path` if the block succeeds, and is deleted otherwise.

    `mode`: of the file, whatever the umask is. By default a file in a private folder is private, and the umask decides
    elsewhere.
    """
    _make_folder_as_around(path.parent)
    if mode is None and _is_private(path.parent):
        mode = PRIVATE
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if mode is not None:
            temporary.unlink(missing_ok=True)  # left by a killed process that had the same id
            create_private(temporary)
        yield temporary
        with temporary.open("rb") as written:
            if mode is not None:
                os.fchmod(written.fileno(), mode)
            os.fsync(written.fileno())  # otherwise the rename may reach the disk before the content
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str, mode: int | None = None) -> None:
    """Replace the content of a file. `mode` as for `replacing`."""
    with replacing(path, mode) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def create_private(path: Path) -> None:
    """Create an empty file that only its owner can read. Raises FileExistsError."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))


def _is_private(folder: Path) -> bool:
    return not folder.stat().st_mode & 0o077


def _make_folder_as_around(path: Path) -> None:
    """Create a folder with its parents: private in a private folder."""
    existing = next(folder for folder in (path, *path.absolute().parents) if folder.is_dir())
    if _is_private(existing):
        make_private_folder(path)
    else:
        path.mkdir(parents=True, exist_ok=True)


def make_private_folder(path: Path) -> None:
    """Create a folder that only its owner can enter, with its parents. An existing one is left as it is.

    Its owner may share it on purpose; var/ itself is closed by `close_var`.
    """
    if not path.is_dir():
        make_private_folder(path.parent)
        path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def make_private(path: Path) -> None:
    """Remove the access of other users from a file or folder. Does nothing if it is missing, or not ours to change."""
    with suppress(FileNotFoundError):
        before = path.lstat()
        # Not a folder such as /tmp, nor a file with a second name elsewhere, such as git's objects in a clone.
        is_shared = before.st_mode & stat.S_ISVTX or (stat.S_ISREG(before.st_mode) and before.st_nlink > 1)
        is_ours = before.st_uid == os.geteuid() and not stat.S_ISLNK(before.st_mode)
        if is_shared or not is_ours or not before.st_mode & 0o077:
            return
        with suppress(OSError):  # a read-only file system, or one without modes
            path.chmod(stat.S_IMODE(before.st_mode) & ~0o077)


def make_private_database(database: Path) -> None:
    """Create a missing SQLite file so that only its owner can read it, and take other users' access from existing ones.

    SQLite gives the write-ahead log the mode of the database file.
    """
    make_private_folder(database.parent)
    if not database.exists():
        # An existing file is never opened here: closing it would release the locks that this process has on it.
        with suppress(FileExistsError):  # another process has just created it
            create_private(database)
    for ending in ("", "-wal", "-shm"):
        make_private(database.with_name(database.name + ending))


def make_private_tree(folder: Path) -> None:
    """`make_private` for a folder and everything in it."""
    make_private(folder)
    for path in folder.rglob("*"):
        make_private(path)


def make_readable_tree(folder: Path) -> None:
    """Let every user read a folder and everything in it."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(READABLE_FOLDER if path.is_dir() else READABLE)


def close_var(var: Path) -> None:
    """Make var/ private, and what lies directly in it, also if an earlier version created it.

    That protects everything deeper, such as the files that MLflow, DVC and Prefect write with modes of their own.
    """
    if var.is_dir():
        for path in (var, *var.iterdir()):
            make_private(path)


def read_regular(path: Path, max_bytes: int) -> bytes:
    """The content of a regular file. Raises OSError, also for a symbolic link, a FIFO, a device, or a larger file.

    Plain `open` would wait forever for the writer of a FIFO, and `read` would fill the memory from a device.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is not a regular file")
        if status.st_size > max_bytes:
            raise OSError(f"{path} has {status.st_size:,} bytes; the limit is {max_bytes:,}")
        return file.read(max_bytes)


def digest(path: Path) -> str:
    """The sha256 of a file, in hex."""
    with path.open("rb") as content:
        return file_digest(content, "sha256").hexdigest()
