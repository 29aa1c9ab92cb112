"""The hashes of dvc.lock, the commit, and the message about outputs that differ."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.operations import git, lineage
from pipelines.operations.git import GitRefused

COMMITTED = """
schema: '2.0'
stages:
  a:
    cmd: python -m a
    outs:
    - {path: data/a, hash: md5, md5: 11.dir, size: 1}
  b:
    cmd: python -m b
    deps:
    - {path: data/a, hash: md5, md5: 11.dir, size: 1}
    - {path: src/b.py, hash: md5, md5: '33', size: 1}
    params:
      params.yaml:
        train: {seed: 1}
    outs:
    - {path: reports/b.json, hash: md5, md5: '22', size: 2}
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository in which dvc.lock is committed."""
    monkeypatch.chdir(tmp_path)
    Path("dvc.lock").write_text(COMMITTED)
    Path("src").mkdir()
    Path("src/b.py").write_text("")
    for words in ("init -q", "add .", "-c user.name=t -c user.email=t@localhost commit -qm all"):
        subprocess.run(["git", *words.split()], check=True)
    return tmp_path


def test_the_outputs_are_those_of_all_stages() -> None:
    assert lineage.outputs(COMMITTED) == {"data/a": "11.dir", "reports/b.json": "22"}


@pytest.mark.usefixtures("repository")
def test_equal_outputs_are_reported_as_reproduced() -> None:
    message = lineage.reproduction(lineage.outputs(COMMITTED))

    assert message == "reproduced: all 2 outputs match the committed dvc.lock byte for byte"


@pytest.mark.usefixtures("repository")
def test_an_output_that_differs_is_named() -> None:
    message = lineage.reproduction({"data/a": "11.dir", "reports/b.json": "33"})

    assert message == "reproduced: 1 of 2 outputs; these differ: reports/b.json"


def test_inputs_are_the_files_that_no_stage_writes() -> None:
    assert lineage.inputs(COMMITTED) == {("b", "src/b.py"): "33", ("b", "params.yaml train"): {"seed": 1}}


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("path", ["src/b.py", "src/new.py"])
def test_changed_and_new_code_is_dirty(path: str) -> None:
    clean = lineage.git_commit()
    Path(path).write_text("changed = True")

    assert len(clean) == 40
    assert lineage.git_commit() == f"{clean}-dirty"


@pytest.mark.usefixtures("repository")
def test_new_results_and_parameters_are_not_dirty_because_they_are_recorded_themselves() -> None:
    clean = lineage.git_commit()
    Path("dvc.lock").write_text("stages: {}")
    Path("params.yaml").write_text("seed: 1")

    assert lineage.git_commit() == clean


def test_without_a_repository_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))

    assert lineage.git_commit() == "unknown"
    assert lineage.reproduction({}).startswith("reproduced: unknown, because nothing is committed to compare with")
    with pytest.raises(GitRefused, match="nothing is committed yet: run git init && git add -A && git commit"):
        git.refuse_without_commit()


def test_before_the_first_commit_the_lineage_is_as_without_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)

    assert lineage.git_commit() == "unknown"
    assert lineage.reproduction({}).startswith("reproduced: unknown, because nothing is committed to compare with")


def test_a_commit_without_dvc_lock_cannot_be_compared(repository: Path) -> None:
    for words in ("rm -q dvc.lock", "-c user.name=t -c user.email=t@localhost commit -qm without"):
        subprocess.run(["git", *words.split()], check=True, cwd=repository)

    assert lineage.reproduction({}) == "reproduced: unknown, because no dvc.lock is committed to compare with"


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize("call", [lineage.git_commit, git.refuse_without_commit, lambda: lineage.reproduction({})])
def test_a_repository_of_another_user_is_refused_with_gits_message(
    call: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")

    with pytest.raises(GitRefused, match=r"dubious ownership .* git config --global --add safe\.directory"):
        call()


@pytest.mark.usefixtures("repository")
def test_a_repository_without_git_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(GitRefused, match="git is not installed"):
        lineage.git_commit()


def test_a_folder_of_a_larger_repository_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository / "src")

    assert len(lineage.git_commit()) == 40
    with pytest.raises(GitRefused, match="this folder is src/ in a larger one"):
        git.refuse_without_commit()


def test_a_pipeline_id_depends_only_on_the_results() -> None:
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}

    assert lineage.pipeline_id(one) == lineage.pipeline_id(other)
    assert lineage.pipeline_id(one) != lineage.pipeline_id({"a": "1", "b": "3"})
