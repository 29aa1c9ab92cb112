"""Copies Python, and what it and the packages need of Debian, to a folder: an image without a shell or package manager.

    python runtime_files.py TO PACKAGES...

The Dockerfile runs it in Debian's image. It keeps Debian's record of each package of which a file is copied, so that
scanners and bills of materials find it.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

PYTHON = Path(sys.base_prefix)
LIBRARY = Path("lib") / f"python{sys.version_info.major}.{sys.version_info.minor}"
UNUSED = (
    "test",
    "tests",
    "ensurepip",
    "idlelib",
    "tkinter",
    "turtledemo",
    "lib2to3",
    "site-packages",
    "config-*",
    "*.a",
)
# Loaded by name, so that no list of dependencies has it: glibc ends threads with it.
BY_NAME = ("libgcc_s.so.1",)
SETTINGS = (
    "/etc/passwd", "/etc/group", "/etc/nsswitch.conf", "/etc/os-release", "/usr/lib/os-release", "/etc/debian_version",
    "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/ssl/certs/ca-certificates.crt",
)  # fmt: skip
RECORDS = Path("var/lib/dpkg/status.d")


def linked(files: Iterable[Path]) -> set[Path]:
    """The shared libraries of the system that the files load, as the loader finds them."""
    listings = "".join(output("ldd", str(file)) for file in files)
    libraries = {Path(name) for name in re.findall(r"(/[^ \n]+\.so[^ \n]*) \(0x", listings)}
    cache = [line.split() for line in output("ldconfig", "-p").splitlines()]
    libraries |= {Path(words[-1]) for words in cache if words[0] in BY_NAME}
    return {path for path in libraries if path.parts[1] in ("lib", "lib64") or path.parts[1:3] == ("usr", "lib")}


def output(*command: str) -> str:
    """Also of a command that fails: `ldd` does for a file that is not linked."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603  our own arguments


def copy(path: Path, to: Path) -> Path:
    """Copy a file under its real path, and as a link under its other name. Returns the real path."""
    real = path.resolve()
    target = to / real.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(real, target)
    name = to / (path.parent.resolve() / path.name).relative_to("/")
    if name != target and not name.exists():
        name.parent.mkdir(parents=True, exist_ok=True)
        name.symlink_to(real)
    return real


def copy_record(real: Path, to: Path) -> None:
    """Debian's record of the package that a file belongs to."""
    names = re.findall(r"^([a-z0-9.+-]+)[:,]", output("dpkg-query", "--search", str(real)), re.MULTILINE)
    for name in names:
        (to / RECORDS).mkdir(parents=True, exist_ok=True)
        (to / RECORDS / name).write_text(output("dpkg-query", "--status", name), encoding="utf-8")


def copy_python(to: Path) -> None:
    ignored = shutil.ignore_patterns(*UNUSED, "__pycache__")
    shutil.copytree(PYTHON / LIBRARY, to / (PYTHON / LIBRARY).relative_to("/"), ignore=ignored, symlinks=True)
    for path in (*(PYTHON / "bin").glob("python*"), *(PYTHON / "lib").glob("libpython*.so*")):
        if not path.name.endswith("-config"):
            copy(path, to)


def main() -> None:
    to, packages = Path(sys.argv[1]), map(Path, sys.argv[2:])
    to.mkdir()
    for link in (Path("/lib"), Path("/lib64")):  # the loader's own name begins with one of them
        if link.is_symlink():
            (to / link.name).symlink_to(link.readlink())
    copy_python(to)
    programs = [PYTHON / "bin" / LIBRARY.name, *(PYTHON / "lib").rglob("*.so*")]
    libraries = linked([*programs, *(path for folder in packages for path in folder.rglob("*.so*"))])
    for path in (*sorted(libraries), *map(Path, SETTINGS)):
        copy_record(copy(path, to), to)
    (to / "usr/lib/ssl").mkdir(parents=True)
    (to / "usr/lib/ssl/cert.pem").symlink_to("/etc/ssl/certs/ca-certificates.crt")
    (to / "usr/lib/ssl/openssl.cnf").symlink_to("/etc/ssl/openssl.cnf")
    (to / "tmp").mkdir()
    (to / "tmp").chmod(0o1777)


if __name__ == "__main__":
    main()
