"""Environments with packages of their own, whose requirements conflict with this project's pins."""

import subprocess
import sys
from pathlib import Path

TOOLS = Path(sys.executable).parent  # not resolved: the environment's, not the interpreter's


def make_environment(lock: Path, folder: Path) -> Path:
    """Install exactly what is locked into an environment in `folder`, and return the path of its Python.

    An environment that is up to date takes less than a second.
    """
    uv, python = str(TOOLS / "uv"), folder / "bin" / "python"
    for command in (
        [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder)],
        [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(python), str(lock)],
    ):
        subprocess.run(command, check=True)  # noqa: S603  our own commands
    return python
