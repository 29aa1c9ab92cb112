"""`make install`: exactly what requirements/all.txt locks, into .venv. It uses the standard library only.

    python -m pipelines.tools.install .venv

Whatever interrupts it, the next one begins again with an empty .venv; its downloads are in var/cache.
"""

import re
import subprocess
import sys
from pathlib import Path

from ontime import locks
from pipelines.operations import processes

LOCK = Path("var/install.lock")
ALL, SETUP = Path("requirements/all.txt"), Path("requirements/setup.txt")
# As Linux and macOS say that there is no such library.
NO_OPENMP = re.compile(r"lib\w*omp[^:]*: cannot open shared object file: No such|Library not loaded: \S*lib\w*omp")
OPENMP = "LightGBM needs the OpenMP runtime: apt-get install libgomp1, or brew install libomp; then make install again"


class NotInstalled(RuntimeError):
    """A step failed; the message says which, and what to do."""


def install(venv: Path) -> None:
    """Raises NotInstalled. Of two at once, the second waits and finds it done."""
    stamp = venv / ".installed"
    with locks.wait_and_hold(LOCK, "install"):
        if is_installed(stamp):
            return
        print(f"install: {venv.name} from {ALL} (under 2 GB, about a minute)", flush=True)
        # Without the stamp it is new or half of one. An older one without it from here on is half of one, too.
        clear = () if stamp.exists() and is_relocatable(venv) else ("--clear",)
        stamp.unlink(missing_ok=True)
        python, uv = str(venv / "bin/python"), str(venv / "bin/uv")
        hashed = ("--quiet", "--require-hashes")
        _run(outside(venv), "-m", "venv", *clear, str(venv))
        _run(python, "-m", "pip", "install", "--disable-pip-version-check", *hashed, "-r", str(SETUP))
        # It can be moved and copied with the folder: its scripts find their Python beside them, and Python our code.
        _run(uv, "venv", "--quiet", "--relocatable", "--allow-existing", "--python", python, str(venv))
        _run(uv, "pip", "sync", "--python", python, *hashed, str(ALL))
        packages = next((venv / "lib").glob("python*/site-packages"))
        (packages / "ontime.pth").write_text("../../../../src\n", encoding="utf-8")
        refuse_without_openmp(python)
        stamp.touch()


def outside(venv: Path) -> str:
    """A Python that is not thrown away with the environment, which may be activated."""
    within = Path(sys.prefix).resolve() == venv.resolve()
    return str(Path(sys.base_prefix) / "bin" / Path(sys.executable).name) if within else sys.executable


def is_relocatable(venv: Path) -> bool:
    """Whether its Python is still there, and none of its scripts names the folder."""
    settings = venv / "pyvenv.cfg"
    whole = settings.exists() and (venv / "bin/python").exists()
    return whole and "relocatable = true" in settings.read_text(encoding="utf-8")


def is_installed(stamp: Path) -> bool:
    return (
        stamp.exists()
        and is_relocatable(stamp.parent)
        and all(stamp.stat().st_mtime >= each.stat().st_mtime for each in (ALL, SETUP))
    )


def refuse_without_openmp(python: str) -> None:
    """LightGBM is the one library that needs another from the system. Raises NotInstalled with what really failed."""
    done = subprocess.run([python, "-c", "import lightgbm"], stderr=subprocess.PIPE, text=True)  # noqa: S603  our own words
    if done.returncode:
        raise NotInstalled(reason(done.returncode, done.stderr))


def reason(code: int, said: str) -> str:
    """Why LightGBM cannot be imported."""
    if NO_OPENMP.search(said):
        return OPENMP
    last = (said.strip().splitlines() or ["it said nothing"])[-1]
    if code < 0:
        last = f"its process was killed by signal {-code}, as it is where memory is short"
    return f"LightGBM is installed, but cannot be imported: {last}; make install tries again"


def _run(*command: str) -> None:
    with processes.process_group(command) as process:  # else what is killed here would go on installing
        code = process.wait()
    if code:
        words = " ".join([Path(command[0]).name, *command[1:4]])
        ending = f"ended with {code}, for what it says above" if code > 0 else f"was killed by signal {-code}"
        raise NotInstalled(f"`{words} ...` {ending}; make install tries again")


def main() -> None:
    try:
        install(Path(sys.argv[1]))
    except (NotInstalled, OSError) as failed:
        sys.exit(f"install: {failed}")
    except KeyboardInterrupt:
        sys.exit("install: interrupted; make install begins again")


if __name__ == "__main__":
    main()
