"""`make install`: installs exactly what requirements/all.txt locks into .venv. Standard library only.

    python -m pipelines.tools.install .venv
    python -m pipelines.tools.install .venv dask      also requirements/dask.txt: make install ENGINE=dask

After an interrupted installation, the next one starts with an empty .venv. Downloads are cached in var/cache.
"""

import re
import sys
from pathlib import Path

from ontime import locks
from pipelines.operations import processes

LOCK = Path("var/install.lock")
ALL, SETUP = Path("requirements/all.txt"), Path("requirements/setup.txt")
# The command line, also after the folder was moved: beside it lies the Python that runs it. -P: not a module `cli` of
# the caller's folder.
SCRIPT = """#!/bin/sh
exec "$(dirname -- "$(realpath -- "$0")")/python" -P -m cli "$@"
"""
# The dynamic linker's error on Linux, then on macOS.
NO_OPENMP = re.compile(r"lib\w*omp[^:]*: cannot open shared object file: No such|Library not loaded: \S*lib\w*omp")
OPENMP = "LightGBM needs the OpenMP runtime: apt-get install libgomp1, or brew install libomp; then make install again"


class NotInstalled(RuntimeError):
    """A step failed; the message says which, and what to do."""


def install(venv: Path) -> None:
    """Install into `venv` unless it is up to date; a second process waits for the first. Raises NotInstalled."""
    stamp = venv / ".installed"
    with locks.wait_and_hold(LOCK, "install"):
        if is_installed(stamp):
            return
        print(f"install: {venv.name} from {ALL} (under 2 GB, about a minute)", flush=True)
        # An environment without the stamp is new or incomplete; the old stamp goes until the update is complete.
        clear = () if stamp.exists() and is_relocatable(venv) else ("--clear",)
        for each in (stamp, *venv.glob(f"{stamp.name}-*")):
            each.unlink(missing_ok=True)
        python, uv = str(venv / "bin/python"), str(venv / "bin/uv")
        hashed = ("--quiet", "--require-hashes")
        _run(outside(venv), "-m", "venv", *clear, str(venv))
        _run(python, "-m", "pip", "install", "--disable-pip-version-check", *hashed, "-r", str(SETUP))
        # Relocatable, and with a relative path to src/: the project folder can be moved and copied.
        _run(uv, "venv", "--quiet", "--relocatable", "--allow-existing", "--python", python, str(venv))
        _run(uv, "pip", "sync", "--python", python, *hashed, str(ALL))
        packages = next((venv / "lib").glob("python*/site-packages"))
        (packages / "ontime.pth").write_text("../../../../src\n../../../..\n", encoding="utf-8")
        script = venv / "bin/ontime"
        script.write_text(SCRIPT, encoding="utf-8")
        script.chmod(0o755)
        refuse_without_openmp(python)
        stamp.touch()


def install_engine(venv: Path, engine: str) -> None:
    """Add the packages of a distributed engine, which the next installation of all packages removes."""
    lock, stamp = ALL.with_name(f"{engine}.txt"), venv / f".installed-{engine}"
    with locks.wait_and_hold(LOCK, "install"):
        if stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime:
            return
        print(f"install: {lock} into {venv.name}", flush=True)
        # Without uv's settings in pyproject.toml, whose constraints have no hashes: the lock has them.
        command = (str(venv / "bin/uv"), "pip", "install", "--no-config", "--quiet", "--require-hashes")
        _run(*command, "--python", str(venv / "bin/python"), "-r", str(lock))
        stamp.touch()


def outside(venv: Path) -> str:
    """A Python outside `venv`: the running one may be in there, and be deleted with it."""
    within = Path(sys.prefix).resolve() == venv.resolve()
    return str(Path(sys.base_prefix) / "bin" / Path(sys.executable).name) if within else sys.executable


def is_relocatable(venv: Path) -> bool:
    """Whether its Python still exists, and none of its scripts contains the path of the folder."""
    settings = venv / "pyvenv.cfg"
    complete = settings.exists() and (venv / "bin/python").exists()
    return complete and "relocatable = true" in settings.read_text(encoding="utf-8")


def is_installed(stamp: Path) -> bool:
    return (
        stamp.exists()
        and is_relocatable(stamp.parent)
        and all(stamp.stat().st_mtime >= each.stat().st_mtime for each in (ALL, SETUP, Path(__file__)))
    )


def refuse_without_openmp(python: str) -> None:
    """Raises NotInstalled if LightGBM, the one package that needs a system library, cannot be imported."""
    with processes.piped([python, "-c", "import lightgbm"]) as process:
        try:
            processes.output_of(process, "import lightgbm")
        except processes.ProcessFailed as failed:
            raise NotInstalled(import_failure(process.returncode, failed.output)) from None


def import_failure(code: int, output: str) -> str:
    """Why LightGBM cannot be imported, from the exit code and the output of the process that tried.

    >>> import_failure(1, "ModuleNotFoundError: No module named 'numpy'")
    "LightGBM is installed, but cannot be imported: ModuleNotFoundError: No module named 'numpy'; rerun make install"
    """
    if NO_OPENMP.search(output):
        return OPENMP
    last_line = (output.strip().splitlines() or ["the process printed nothing"])[-1]
    if code < 0:
        last_line = f"the process was killed by signal {-code}, perhaps because memory ran out"
    return f"LightGBM is installed, but cannot be imported: {last_line}; rerun make install"


def _run(*command: str) -> None:
    # Its output is not captured: pip and uv show their progress and their errors.
    with processes.process_group(command) as process:
        code = process.wait()
    if code:
        shortened = " ".join([Path(command[0]).name, *command[1:4]])
        ending = f"ended with {code}, for the reason above" if code > 0 else f"was killed by signal {-code}"
        raise NotInstalled(f"`{shortened} ...` {ending}; run make install again")


def main() -> None:
    try:
        install(Path(sys.argv[1]))
        for engine in sys.argv[2:]:
            install_engine(Path(sys.argv[1]), engine)
    except (NotInstalled, OSError) as error:
        sys.exit(f"install: {error}")
    except KeyboardInterrupt:
        sys.exit("install: interrupted; make install starts again from an empty environment")


if __name__ == "__main__":
    main()
