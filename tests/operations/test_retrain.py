"""The clone in which a retraining works follows the folder that it lies in."""

import shutil
import subprocess
from pathlib import Path

import pytest

from pipelines.operations import retrain


def commit(folder: Path, text: str) -> str:
    (folder / "code.py").write_text(text)
    for words in ("init -q", "add code.py", "-c user.name=t -c user.email=t@localhost commit -qm x"):
        subprocess.run(["git", *words.split()], cwd=folder, check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_clone_of_a_copied_folder_takes_what_the_copy_has_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, copied = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    commit(original, "one")
    monkeypatch.chdir(original)
    retrain.update_clone(Path("var/retraining"))
    shutil.copytree(original, copied)
    commit(copied, "two")
    monkeypatch.chdir(copied)

    workspace = retrain.update_clone(Path("var/retraining"))

    assert (workspace / "code.py").read_text() == "two"
    assert (original / "var/retraining/code.py").read_text() == "one"


def test_a_clone_that_was_cut_off_and_a_lock_that_git_left_do_not_stop_the_next_retraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path, "one")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var/.retraining.cloning/.git").mkdir(parents=True)
    clone = retrain.update_clone(Path("var/retraining"))
    for left in ("index.lock", "HEAD.lock", "refs/remotes/origin/HEAD.lock"):
        (clone / ".git" / left).parent.mkdir(parents=True, exist_ok=True)
        (clone / ".git" / left).touch()

    again = retrain.update_clone(Path("var/retraining"))

    assert (again / "code.py").read_text() == "one"


def test_the_database_is_the_same_one_from_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "what? & where #"
    (folder / "var/retraining").mkdir(parents=True)
    monkeypatch.chdir(folder)

    url = retrain._from(Path("var/retraining"), "sqlite:///var/ontime.db")

    monkeypatch.chdir("var/retraining")
    assert Path(url.removeprefix("sqlite:///")).resolve() == folder / "var/ontime.db"
    assert retrain._from(Path(), "postgresql://u:secret@h/d") == "postgresql://u:secret@h/d"


@pytest.mark.parametrize("left", ["", ".git"])
def test_a_workspace_that_is_no_clone_never_becomes_the_repository_around_it(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git looks for a repository in the folders above, and there is the user's own, with work in it."""
    commit(tmp_path, "one")
    (tmp_path / "code.py").write_text("not yet committed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var/retraining" / left).mkdir(parents=True)

    try:
        assert (retrain.update_clone(Path("var/retraining")) / "code.py").read_text() == "one"
    except retrain.NotRetrained:
        assert left == ".git"

    assert (tmp_path / "code.py").read_text() == "not yet committed"
    head = subprocess.run(["git", "symbolic-ref", "-q", "HEAD"], cwd=tmp_path)
    assert head.returncode == 0
