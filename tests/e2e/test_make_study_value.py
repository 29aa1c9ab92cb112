"""The study of value on the smallest problem, all of whose features are the request's."""

from tests.project import Project


def test_the_value_of_the_model_is_that_of_the_last_training(tiny: Project) -> None:
    output = tiny.make("study-value", "OMP_NUM_THREADS=1")

    assert "Running stage" not in output
    report, metrics = tiny.json("reports/study_value.json"), tiny.json("reports/metrics.json")
    best = metrics["best"]
    assert [step["name"] for step in report["steps"]] == [
        "no alerts",
        "rate_table",
        best,
        "newest months",
        "average",
    ]
    tests = {name: scores["test"]["cost_per_1000"] for name, scores in metrics["candidates"].items()}
    assert round(report["declared_cost"], 1) == tests[best]
    (declared,) = (row for row in report["ratios"] if row["ratio"] == 3)
    assert {name: round(cost, 1) for name, cost in declared["costs"].items() if name in tests} == {
        name: tests[name] for name in ("rate_table", best)
    }
    assert report["refitted_on"] > report["trained_on"]
    for name in ("study_value", "study_cost_ratios"):
        assert (tiny.folder / f"reports/{name}.png").exists()
    page = (tiny.folder / "docs/what-the-model-is-worth.md").read_text()
    assert f"| **{best.replace('_', ' ')}**: a model of the request's features alone |" in page
