"""A copy of the project, in which tests run commands as a user would."""

import json
import os
import shutil
import subprocess
import sys
from copy import copy
from pathlib import Path
from typing import Any

from tests import REFERENCE, ROOT

VENV = Path(sys.prefix)


class Project:
    """A copy of what git would keep, as a repository of its own, with the environment of this test run.

    It predicts what the machinery is tested with: see tests/__init__.py.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in self.git("ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT).split("\0"):
            if (ROOT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, folder / name)
        if REFERENCE.is_dir():
            shutil.rmtree(folder / "src/ontime/problem")
            shutil.copytree(folder / "tests/reference", folder, dirs_exist_ok=True)
            shutil.move(folder / "problem", folder / "src/ontime/problem")
        # A link: the tests must not change the environment that they run in.
        (folder / ".venv").symlink_to(VENV)
        self.git("init", "--quiet")
        self.git("add", "--all")
        self.git("-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message", "all")

    @classmethod
    def at(cls, folder: Path) -> "Project":
        """The one that was made in this folder before, such as by another process of pytest."""
        project = cls.__new__(cls)
        project.folder = folder
        return project

    def copied(self, folder: Path, *, repository: bool = True) -> "Project":
        """A copy, including ignored files."""
        other = copy(self)
        ignored = None if repository else shutil.ignore_patterns(".git")
        other.folder = Path(shutil.copytree(self.folder, folder, symlinks=True, ignore=ignored))
        return other

    def git(self, *words: str, cwd: Path | None = None) -> str:
        return subprocess.run(
            ["git", *words], cwd=cwd or self.folder, capture_output=True, text=True, check=True
        ).stdout

    def environment(self, **changed: str) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("MAKEFLAGS", "MAKELEVEL", "OMP_NUM_THREADS") and not name.startswith("ONTIME_")
        }
        return {**inherited, "PYTHONPATH": str(self.folder / "src"), **changed}

    def command(self, *words: str) -> list[str]:
        # Locks that are newer than the environment must not start an installation: see the link above.
        return ["make", "--assume-old=.venv/.installed", "--assume-old=.venv/.installed-candidates", *words]

    def attempt(self, *words: str, **changed: str) -> subprocess.CompletedProcess[str]:
        """Run `make ...`, which may fail; stdout has all output."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(**changed),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def make(self, *words: str) -> str:
        completed = self.attempt(*words)
        assert completed.returncode == 0, completed.stdout
        return completed.stdout

    def python(self, code: str) -> str:
        """What this code prints in the project's own environment."""
        environment = self.environment(PYTHONPATH=f"{self.folder}:{self.folder / 'src'}")
        completed = subprocess.run(
            [sys.executable, "-c", code], cwd=self.folder, env=environment, capture_output=True, text=True
        )
        assert completed.returncode == 0, completed.stderr
        return completed.stdout

    def json(self, path: str) -> Any:
        return json.loads((self.folder / path).read_text())
