"""A wrong call of `make` is refused in one sentence with an example, before anything runs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ontime.problem.data import DATA
from pipelines.tools import usage
from serving.keys import KeyScope
from tests import ROOT

pytestmark = pytest.mark.slow

MAKEFILE = (ROOT / "Makefile").read_text()
# Each target that takes a value, without it or with one that cannot be meant.
WRONG = [
    *usage.NEEDS,
    *(f"{target} {names[0]}=-?" for target, names in usage.TAKES.items() if target not in usage.NEEDS),
]
REFUSED = [
    "promote VERSION=abc",
    "shadow VERSION=0",
    "reproduce VERSION=1.5",
    "restore REPLACE=1",
    "restore FROM=x REPLACE=no",
    "canary VERSION=2",
    "canary VERSION=2 SHARE=2",
    "canary VERSION=2 SHARE=half",
    "canary SHARE=0.1",
    "key NAME=desk",
    "key NAME=desk SCOPES=foo",
    "key NAME=a/b SCOPES=predict",
    "replay MONTHS=x",
    "replay MONTHS=13",
    "replay DATASET=1999",
    "promote version=2",
    "promote VERISON=2",
    "replay MONTH=2",
]
LISTED = re.search(r"^ARGUMENTS := (.*)$", (ROOT / "src/ontime/environment.mk").read_text(), re.MULTILINE)
SENTENCE = r"{0}: \w+=.* is (missing|not|unknown) ?.*; for example: make {0} \w+=.*"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that `make` needs to refuse a call, and no others."""
    made = tmp_path_factory.mktemp("with a space") / "and a #"
    modules = ("__init__", "operations/__init__", "operations/git", "tools/__init__", "tools/usage")
    for name in ("Makefile", "dvc.yaml", "src/ontime/environment.mk", *(f"pipelines/{each}.py" for each in modules)):
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, made / name)
    return made


def refused(folder: Path, *words: str) -> list[str]:
    """The lines that `make` prints, without its own about the failed recipe."""
    completed = subprocess.run(
        ["make", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert completed.returncode != 0, completed.stdout
    return [line for line in completed.stdout.splitlines() if not re.match(r"make(\[\d+\])?: \*\*\* \[", line)]


@pytest.mark.parametrize("words", WRONG)
def test_a_wrong_call_is_answered_by_one_sentence_with_an_example(folder: Path, words: str) -> None:
    (sentence,) = refused(folder, *words.split())

    assert re.fullmatch(SENTENCE.format(words.split()[0]), sentence)
    assert {path.name for path in folder.iterdir()} == {"Makefile", "dvc.yaml", "pipelines", "src"}


@pytest.mark.parametrize("words", REFUSED)
def test_a_value_that_cannot_be_meant_is_named(words: str) -> None:
    target, *values = words.split()
    arguments = dict(value.split("=") for value in values)

    assert re.fullmatch(SENTENCE.format(target), usage.refusal(target, arguments, list(arguments)) or "")


@pytest.mark.parametrize(("target", "meant"), [("trian", "train"), ("tests", "test")])
def test_a_misspelt_target_is_answered_by_what_was_meant(folder: Path, target: str, meant: str) -> None:
    (sentence,) = refused(folder, target)

    assert sentence == f"make: there is no target {target} (did you mean {meant}?); `make help` lists them"


def test_a_target_that_resembles_nothing_is_answered_by_where_they_are_listed(folder: Path) -> None:
    assert refused(folder, "xyz") == ["make: there is no target xyz; `make help` lists them"]


def test_no_folder_hides_a_target_or_a_mistake(folder: Path) -> None:
    for name in ("promote", "models"):
        (folder / name).mkdir()
    try:
        assert refused(folder, "promote")[0].startswith("promote: VERSION= is missing")
        assert refused(folder, "models")[0].startswith("make: there is no target models")
    finally:
        for name in ("promote", "models"):
            (folder / name).rmdir()


@pytest.mark.parametrize(
    ("character", "named"),
    [
        (":", "colon"),
        ("%", "percent sign"),
        ("$", "dollar sign"),
        ("{", "brace"),
        ("}", "brace"),
        ('"', "double quote"),
        ("\n", "line break"),
    ],
)
def test_a_path_that_cannot_work_is_refused_before_anything_is_written(
    folder: Path, tmp_path: Path, character: str, named: str
) -> None:
    there = tmp_path / f"a{character}b"
    shutil.copytree(folder, there)
    before = sorted(there.rglob("*"))

    message = " ".join(refused(there, "install"))

    assert named in message
    assert "rename or move" in message
    assert sorted(there.rglob("*")) == before


@pytest.mark.parametrize("target", usage.targets())
def test_the_example_in_the_list_of_targets_is_not_refused(target: str) -> None:
    for example in re.findall(rf"make {target}((?: \w+=(?:\"[^\"]*\"|[^\s;]+))+)", usage.targets()[target]):
        values = {name: value.strip('"') for name, value in re.findall(r"(\w+)=(\"[^\"]*\"|\S+)", example)}

        assert usage.refusal(target, values, list(values)) is None


def test_every_value_that_a_target_passes_on_is_looked_at() -> None:
    own = set(re.findall(r"^(?:export )?([A-Z_]+) [:?]?=", MAKEFILE, re.MULTILINE)) | {"MAKE", "STACK_ALSO"}
    for target, recipe in re.findall(r"^([a-z-]+):.*## .*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE):
        passed = set(re.findall(r"\$\((?:if |or )?\$?\(?([A-Z]+)\b|\$\$\{?([A-Z]+)\b", recipe))
        names = {first or second for first, second in passed} - own - {"DVC_REMOTE", "STACK_BACKUPS", "HOME"}

        assert names <= {*usage.NEEDS.get(target, ()), *usage.TAKES.get(target, ())}, target


def test_the_scopes_are_those_that_a_key_can_have() -> None:
    shape, description = usage.SHAPES["SCOPES"]

    assert re.fullmatch(shape, ",".join(KeyScope))
    assert description.endswith(", ".join(KeyScope))


def test_every_declared_dataset_can_be_named() -> None:
    shape, _ = usage.SHAPES["DATASET"]

    assert all(re.fullmatch(shape, dataset) for dataset in DATA.datasets)


def test_a_command_in_a_value_is_not_taken_for_variables() -> None:
    assert usage.command_line_variables(r"n -- VERSION=1 DO=make\ replay\ MONTHS=1") == ["VERSION", "DO"]


def test_every_target_stands_under_a_heading_of_the_list() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout

    groups = re.findall(r"^(\w+)$", listed, re.MULTILINE)
    assert groups == ["Start", "Model", "Production", "Infrastructure", "Measure"]
    assert set(re.findall(r"^  make ([a-z-]+) ", listed, re.MULTILINE)) == set(usage.targets())


def test_no_value_of_a_target_comes_from_the_environment() -> None:
    """A FORCE=1 that somebody has exported for another program would overrule the gate."""
    assert LISTED
    assert set(LISTED[1].split()) == set(usage.SHAPES)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("serve PORT=8645", "serve: PORT= is unknown; set it in the environment: ONTIME_PORT=... make serve"),
        ("train VERSION=2", "train: VERSION= is not used by this target; `make help` lists the variables of each"),
    ],
)
def test_a_variable_that_no_target_uses_is_refused(folder: Path, words: str, message: str) -> None:
    assert refused(folder, *words.split()) == [message]
