"""The study of searches on the smallest problem, and the search that prints parameters for params.yaml."""

import pytest
import yaml

from tests.project import Project

ONE_THREAD = "OMP_NUM_THREADS=1"
TRIALS, FOLDS = 2, 2


@pytest.fixture(scope="module", autouse=True)
def few_fits(tiny: Project) -> None:
    path = tiny.folder / "params.yaml"
    params = path.read_text()
    assert "trials: 20\n  folds: 3\n" in params
    path.write_text(params.replace("trials: 20\n  folds: 3\n", f"trials: {TRIALS}\n  folds: {FOLDS}\n"))


def test_three_searches_have_equal_budgets_and_are_judged_on_a_period_that_they_have_not_read(tiny: Project) -> None:
    output = tiny.make("study-search", ONE_THREAD)

    assert "Running stage" not in output
    report = tiny.json("reports/study_search.json")
    assert [(each["name"], len(each["trials"])) for each in report["searches"]] == [
        ("grid", TRIALS), ("random", TRIALS), ("bayesian", TRIALS),
    ]  # fmt: skip
    for search in report["searches"]:
        lowest = min(search["trials"], key=lambda trial: trial["log_loss"])
        assert search["parameters"] == lowest["parameters"]
        assert search["judged"]["folds"]["worth"]["verdict"] in ("worth it", "within noise", "worse")
    current = yaml.safe_load((tiny.folder / "params.yaml").read_text())["train"]["lightgbm"]
    assert report["current"]["parameters"] == current
    validation = tiny.json("reports/metrics.json")["candidates"]["lightgbm"]["valid"]
    assert abs(report["current"]["judged"]["validation"]["log_loss"] - validation["log_loss"]) < 0.01
    assert (tiny.folder / "reports/study_search.png").exists()
    assert "| **grid**: all combinations" in (tiny.folder / "docs/what-searching-is-worth.md").read_text()
    assert not (tiny.folder / "var/search").exists()


def test_a_single_search_compares_its_result_with_the_current_parameters(tiny: Project) -> None:
    output = tiny.make("tune", ONE_THREAD)

    assert f"tune: mean log-loss over {FOLDS} months 0." in output
    assert ("seeds save" in output) != ("no trial is better" in output)
