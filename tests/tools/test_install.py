"""The installation: steps, interruptions, and the reason why LightGBM cannot be imported."""

import os
from pathlib import Path

import pytest

from pipelines.tools import install

MISSING = (
    "Traceback (most recent):\nOSError: libgomp.so.1: cannot open shared object file: No such file or directory",
    "OSError: dlopen(lib_lightgbm.dylib, 0x0006): Library not loaded: @rpath/libomp.dylib\n  Referenced from: <F7>",
)
ELSE = {
    "OSError: libgomp.so.1: cannot open shared object file: Permission denied": 1,
    "OSError: lib_lightgbm.so: cannot open shared object file: No such file or directory": 1,
    "ModuleNotFoundError: No module named 'numpy'": 1,
    "ImportError: numpy/_core/_multiarray_umath.so: invalid ELF header": 1,
}


@pytest.mark.parametrize("output", MISSING)
def test_a_missing_openmp_runtime_is_named_with_what_brings_it(output: str) -> None:
    assert "apt-get install libgomp1, or brew install libomp" in install.import_failure(1, output)


@pytest.mark.parametrize("last", ELSE)
def test_any_other_failure_is_reported_with_its_last_line(last: str) -> None:
    reason = install.import_failure(ELSE[last], f"Traceback (most recent call last):\n  File x\n{last}\n")

    assert reason == f"LightGBM is installed, but cannot be imported: {last}; rerun make install"


def test_an_import_that_was_killed_is_reported_as_killed() -> None:
    assert "was killed by signal 9" in install.import_failure(-9, "")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose installation steps only write their names to a file."""
    monkeypatch.chdir(tmp_path)
    for each in (install.ALL, install.SETUP):
        each.parent.mkdir(exist_ok=True)
        each.touch()
    monkeypatch.setattr(install, "refuse_without_openmp", lambda _: None)
    monkeypatch.setattr(install, "_run", _written_down)
    return tmp_path


def _written_down(*command: str) -> None:
    for folder in ("bin", "lib/python3/site-packages"):
        Path(".venv", folder).mkdir(parents=True, exist_ok=True)
    Path(".venv/bin/python").touch()
    if "venv" in command:
        Path(".venv/pyvenv.cfg").write_text("relocatable = true\n" if "--relocatable" in command else "")
    with Path("steps").open("a") as steps:
        steps.write(" ".join(command[1:4]) + "\n")


def test_what_is_installed_is_not_installed_again(project: Path) -> None:
    install.install(project / ".venv")
    before = Path("steps").read_text()

    install.install(project / ".venv")

    assert Path("steps").read_text() == before


def test_half_of_an_environment_is_thrown_away(project: Path) -> None:
    (project / ".venv").mkdir()

    install.install(project / ".venv")

    assert Path("steps").read_text().startswith("-m venv --clear\n")


@pytest.mark.parametrize("lost", [".venv/bin/python", ".venv/pyvenv.cfg"])
def test_an_environment_whose_python_is_gone_is_made_again(project: Path, lost: str) -> None:
    install.install(project / ".venv")
    Path("steps").unlink()
    Path(lost).unlink()

    install.install(project / ".venv")

    assert Path("steps").read_text().startswith("-m venv --clear\n")


def test_an_environment_whose_scripts_name_their_folder_is_made_again(project: Path) -> None:
    install.install(project / ".venv")
    Path("steps").unlink()
    Path(".venv/pyvenv.cfg").write_text("home = /usr/bin\n")

    install.install(project / ".venv")

    assert Path("steps").read_text().startswith("-m venv --clear\n")


def test_new_requirements_are_added_to_a_whole_one_which_is_half_of_one_meanwhile(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install.install(project / ".venv")
    Path("steps").unlink()
    os.utime(project / ".venv/.installed", (0, 0))

    def cut_off(*_: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(install, "_run", cut_off)
    with pytest.raises(KeyboardInterrupt):
        install.install(project / ".venv")

    assert not (project / ".venv/.installed").exists()
    monkeypatch.setattr(install, "_run", _written_down)
    install.install(project / ".venv")
    assert Path("steps").read_text().startswith("-m venv --clear\n")
