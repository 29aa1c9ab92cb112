"""The comparison of a rebuilt version with its record, refused versions, and the clone for the rebuild."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from ontime.registry import Origin
from pipelines.operations import lineage
from pipelines.tools import rebuild, reproduce
from pipelines.tools.rebuild import Deviation, NotRebuilt, Rebuild

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SAME = Deviation(entities=53_991, largest=0.0, entity_id="first")


def lock(models: str = "11", predictions: str = "22", seed: int = 2013, explored: str = "33") -> str:
    """A dvc.lock of two stages that lead to the predictions, and one that does not."""
    stages = {
        "train": {
            "deps": [{"path": "src/ontime/model.py", "md5": "00"}],
            "params": {"params.yaml": {"train": {"seed": seed}}},
            "outs": [{"path": "models", "md5": models}],
        },
        "evaluate": {
            "deps": [{"path": "models", "md5": models}],
            "outs": [{"path": "data/predictions", "md5": predictions}],
        },
        "explore": {"outs": [{"path": "reports/eda.md", "md5": explored}]},
    }
    return yaml.safe_dump({"schema": "2.0", "stages": stages})


def without_explore(lock_text: str) -> str:
    """The lock of a rebuild, which does not run `explore`."""
    content = yaml.safe_load(lock_text)
    del content["stages"]["explore"]
    return yaml.safe_dump(content)


def origin(git_commit: str = COMMIT, dvc_lock: str | None = None) -> Origin:
    lock_text = dvc_lock or lock()
    return Origin(git_commit, lineage.pipeline_id(lineage.outputs(lock_text)), "", lock_text, b"")


def rebuilt(lock_text: str, deviation: Deviation = SAME, same_libraries: bool = True) -> Rebuild:
    return Rebuild(without_explore(lock_text), deviation, same_libraries)


def test_when_all_is_the_same_the_last_line_says_so() -> None:
    reproduction = reproduce.compare_with_record("3", origin(), rebuilt(lock()))

    assert reproduction.identical
    assert reproduction.lines == [
        "2 of 2 outputs are byte for byte as recorded",
        "version 3 rebuilt from commit 0123456: predictions identical over 53,991 flights",
    ]


def test_an_output_that_differs_is_named_though_the_model_answers_the_same() -> None:
    reproduction = reproduce.compare_with_record("3", origin(), rebuilt(lock(predictions="99")))

    assert not reproduction.identical
    assert reproduction.lines[0] == "1 of 2 outputs are byte for byte as recorded"
    assert reproduction.lines[-1] == (
        "version 3 rebuilt from commit 0123456: predictions identical over 53,991 flights, "
        "but these outputs differ: data/predictions"
    )


def test_predictions_that_differ_are_counted_and_the_worst_is_named() -> None:
    far = Deviation(entities=53_991, largest=0.0123, entity_id="2013-11-05-UA-15")

    reproduction = reproduce.compare_with_record("3", origin(), rebuilt(lock(models="98", predictions="99"), far))

    assert not reproduction.identical
    assert reproduction.lines[-1] == (
        "version 3 rebuilt from commit 0123456: predictions differ by up to 0.012 (flight 2013-11-05-UA-15) "
        "over 53,991 flights; these outputs differ: data/predictions, models"
    )


def test_a_registered_model_that_is_not_the_one_of_its_run_differs_by_its_predictions_alone() -> None:
    far = SAME._replace(largest=1e-7)

    reproduction = reproduce.compare_with_record("3", origin(), rebuilt(lock(), far))

    assert not reproduction.identical
    assert reproduction.lines[-1].endswith("predictions differ by up to 1e-07 (flight first) over 53,991 flights")


def test_what_the_stages_read_otherwise_is_named_as_a_reason() -> None:
    reproduction = reproduce.compare_with_record("3", origin(), rebuilt(lock(models="98", seed=7)))

    assert "the inputs of its stages differ from the record: params.yaml train" in reproduction.lines


def test_libraries_that_differ_from_those_of_its_commit_are_reported() -> None:
    reproduction = reproduce.compare_with_record("3", origin(), rebuilt(lock(), same_libraries=False))

    assert reproduction.identical
    assert any("the libraries differ from those" in line for line in reproduction.lines)


def test_code_that_was_never_committed_is_not_rebuilt() -> None:
    with pytest.raises(NotRebuilt, match=f"version 3 was never committed: it was {COMMIT} with .* commit before"):
        reproduce.refuse_unrecorded("3", origin(f"{COMMIT}-dirty"))


def test_a_version_from_outside_a_repository_is_not_rebuilt() -> None:
    with pytest.raises(NotRebuilt, match="trained without a git commit"):
        reproduce.refuse_unrecorded("3", origin("unknown"))


def test_a_record_that_contradicts_itself_is_not_rebuilt() -> None:
    recorded = origin()
    other = Origin(COMMIT, recorded.pipeline, "", lock(models="98"), b"")

    reproduce.refuse_unrecorded("3", recorded)
    with pytest.raises(NotRebuilt, match=r"the record of version 3 is inconsistent: its dvc\.lock"):
        reproduce.refuse_unrecorded("3", other)


@pytest.fixture
def abandoned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A commit that no branch contains any longer; the working directory is its repository."""
    monkeypatch.chdir(tmp_path)
    for content in ("kept", "abandoned"):
        Path("file").write_text(content)
        for words in ("init -q", "add file", "-c user.name=t -c user.email=t@localhost commit -qm all"):
            subprocess.run(["git", *words.split()], check=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["git", "reset", "-q", "--hard", "HEAD~"], check=True)
    return head


def test_a_commit_that_no_branch_leads_to_is_cloned(abandoned: str) -> None:
    with rebuild.clone_at(abandoned) as folder:
        assert (folder / "file").read_text() == "abandoned"


def test_a_clone_goes_also_when_its_block_fails(abandoned: str) -> None:
    with pytest.raises(KeyboardInterrupt), rebuild.clone_at(abandoned):
        raise KeyboardInterrupt

    assert list(rebuild.VAR.iterdir()) == []


@pytest.mark.usefixtures("abandoned")
def test_a_commit_that_is_not_here_is_named() -> None:
    with pytest.raises(NotRebuilt, match=f"commit {COMMIT} is not in this repository"), rebuild.clone_at(COMMIT):
        pass


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("pipelines/tools/prediction_deviation.py", "pipelines.tools.prediction_deviation"),
        ("pipelines/deviation.py", "pipelines.deviation"),  # versions registered before the tools had a folder
    ],
)
def test_a_version_is_measured_by_the_module_of_its_own_commit(tmp_path: Path, file: str, module: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).touch()

    assert rebuild.module_of_deviation(tmp_path) == module


@pytest.mark.parametrize(("identical", "status"), [(True, 0), (False, 1)])
def test_the_result_for_scripts_is_one_json_object(
    identical: bool, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    result = reproduce.Reproduction(identical, ["11 of 12 outputs are as recorded", "predictions identical"])
    monkeypatch.setattr(reproduce, "reproduce", lambda *_: result)

    with pytest.raises(SystemExit) as ended:
        reproduce.main("1", as_json=True)

    assert ended.value.code == status
    assert json.loads(capsys.readouterr().out) == {"identical": identical, "lines": result.lines}
