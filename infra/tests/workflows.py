"""Reads the workflows of .github, and runs their scripts like a runner."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.tests.tools import ROOT

FOLDER = ROOT / ".github" / "workflows"
NAMES = sorted(path.name for path in FOLDER.glob("*.yml"))


def read(name: str) -> dict[str, Any]:
    """A workflow; its triggers have the key `on`, which YAML 1.1 parses as true."""
    workflow: dict[Any, Any] = yaml.safe_load((FOLDER / name).read_text())
    return {"on" if key is True else str(key): value for key, value in workflow.items()}


JOBS: dict[tuple[str, str], dict[str, Any]] = {
    (name, job): content for name in NAMES for job, content in read(name)["jobs"].items()
}


@dataclass(frozen=True)
class Step:
    workflow: str
    job: str
    name: str  # or its script, if it has no name
    script: str
    env: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.workflow}: {self.name}"


STEPS = [
    Step(workflow, job, step.get("name", step["run"]), step["run"], tuple(step.get("env", ())))
    for (workflow, job), content in JOBS.items()
    for step in content.get("steps", ())
    if "run" in step
]


def step(workflow: str, name: str) -> Step:
    (match,) = (each for each in STEPS if (each.workflow, each.name) == (workflow, name))
    return match


class Runner:
    """A folder in which a step's script runs, with fakes that record how they were called.

    `bin` is first on PATH. The arguments of a fake are in `bin/NAME.calls`, one line per call, its input
    in `bin/NAME.stdin`.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self._home, self._bin = folder, home, home / "bin"
        self._temp = home / "temp"
        self._bin.mkdir(parents=True)
        self._temp.mkdir()

    def fake(self, name: str, script: str = "") -> None:
        """A command that records its arguments and then runs `script`."""
        path = self._bin / name
        note = f'printf "%s\\n" "$*" >> "{path}.calls"\n[ -t 0 ] || cat >> "{path}.stdin"\n'
        path.write_text(f"#!/usr/bin/env bash\n{note}{script}\n")
        path.chmod(0o755)

    def calls(self, name: str) -> list[str]:
        path = self._bin / f"{name}.calls"
        return path.read_text().splitlines() if path.exists() else []

    def stdin(self, name: str) -> str:
        return (self._bin / f"{name}.stdin").read_text()

    def attempt(self, step: Step, **env: str) -> subprocess.CompletedProcess[str]:
        """The script's result, also if it fails. Every variable that the step sets from an expression is required."""
        assert set(step.env) <= set(env), f"{step} also sets {set(step.env) - set(env)}"
        kept = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
        files = {name: str(self._home / name) for name in ("GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_STEP_SUMMARY")}
        path = f"{self._bin}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step.script],
            cwd=self.folder,
            env={**kept, **files, "PATH": path, "HOME": str(self._home), "RUNNER_TEMP": str(self._temp), **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, step: Step, **env: str) -> str:
        completed = self.attempt(step, **env)
        assert completed.returncode == 0, f"{step}: {completed.stdout}"
        return completed.stdout

    def text_of(self, name: str) -> str:
        """The contents of GITHUB_OUTPUT, GITHUB_PATH or GITHUB_STEP_SUMMARY."""
        return (self._home / name).read_text()
