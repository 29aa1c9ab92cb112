"""dvc.yaml is complete: every file that a stage imports, every parameter that it reads."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ontime.candidates import CANDIDATES
from ontime.params import Params
from tests import ROOT
from tests.repository.imports import all_behind, imported_by, templates_behind

STAGES: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
AFTER_THE_STAGES = {
    "gate",
    "tune",
    "study",
    "monitor",
    "policy",
    "retrain",
    "retention",
    "stream",
}  # read by what runs the stages, or follows
CODE = "\n".join(
    path.read_text() for room in ("src", "pipelines", "monitoring") for path in sorted((ROOT / room).rglob("*.py"))
)


def leaves(section: dict[str, Any], above: str = "") -> list[str]:
    """Every parameter as `train.lightgbm.num_leaves`."""
    names = []
    for name, value in section.items():
        names += leaves(value, f"{above}{name}.") if isinstance(value, dict) else [f"{above}{name}"]
    return names


PARAMS: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_each_file_of_ours_that_it_imports(stage: str) -> None:
    listed = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py") or dep == "src/ontime/problem"}

    assert listed == all_behind(f"pipelines.{stage}") | {"src/ontime/__init__.py", "pipelines/__init__.py"}


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").rglob("*.py")), ids=lambda path: path.stem)
def test_no_stage_is_imported_by_another_stage_or_by_what_follows(path: Path) -> None:
    """What they share is in the library or in a module that is not a stage: a change to a stage runs that one alone."""
    stages = {f"pipelines.{stage}" for stage in STAGES}

    assert imported_by(path) & stages == set()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_lists_each_template_that_these_fill_in(stage: str) -> None:
    listed = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".jinja")}

    assert listed == templates_behind(f"pipelines.{stage}")


def test_the_templates_of_a_stage_are_found() -> None:
    assert templates_behind("pipelines.evaluate") == {"src/ontime/templates/model_card.md.jinja"}
    assert "pipelines/tools/templates/base.html.jinja" in templates_behind("pipelines.tools.performance_report")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_its_own_file_and_depends_on_the_lock(stage: str) -> None:
    assert STAGES[stage]["cmd"] == f"python -m pipelines.{stage}"
    assert "requirements/train.txt" in STAGES[stage]["deps"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_reads_parameters_says_which(stage: str) -> None:
    reads = "load_params()" in Path(ROOT / "pipelines" / f"{stage}.py").read_text()

    assert reads == bool(STAGES[stage].get("params"))


def test_every_parameter_changes_a_stage_or_what_comes_after() -> None:
    listed = {param for stage in STAGES.values() for param in stage.get("params", [])} | AFTER_THE_STAGES

    unlisted = [
        leaf for leaf in leaves(PARAMS) if not any(leaf == param or leaf.startswith(f"{param}.") for param in listed)
    ]

    assert unlisted == []


def test_every_parameter_is_used() -> None:
    """Read by its name; tests/library/test_candidates.py has those of the candidates."""
    candidates = {name for name in PARAMS["train"] if name in CANDIDATES}

    unused = [
        leaf
        for leaf in leaves(PARAMS)
        if not leaf.startswith(tuple(f"train.{name}." for name in candidates))
        and not re.search(rf"\.{leaf.rsplit('.', 1)[-1]}\b", CODE)
    ]

    assert unused == []


def test_params_yaml_is_what_the_types_say() -> None:
    Params.model_validate(PARAMS)
