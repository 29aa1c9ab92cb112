"""What `make install` makes can be moved and copied with its folder, and never leads back to where it was."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

VENV = Path(sys.prefix)
PACKAGES = Path(sysconfig.get_path("purelib")).relative_to(VENV)


def test_a_copied_environment_imports_the_code_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "a copy"
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv" / PACKAGES).mkdir(parents=True)
    for name in ("bin/python", "pyvenv.cfg", PACKAGES / "ontime.pth"):
        shutil.copy2(VENV / name, folder / ".venv" / name, follow_symlinks=False)
    for room in ("src", "cli"):
        shutil.copytree(VENV.parent / room, folder / room)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

    output = subprocess.run(
        [folder / ".venv/bin/python", "-c", "import cli, ontime; print(cli.__file__, ontime.__file__, sep='\\n')"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert output.splitlines() == [str(folder / "cli/__init__.py"), str(folder / "src/ontime/__init__.py")]


def test_no_command_of_the_environment_names_its_folder() -> None:
    scripts = {path: path.read_bytes() for path in (VENV / "bin").iterdir() if path.is_file()}

    assert {path.name for path, text in scripts.items() if text.startswith(b"#!") and bytes(VENV) in text} == set()
