"""The study of features on the smallest problem: refused without anything to measure, and no stage runs for an idea."""

from tests.project import Project

ONE_THREAD = "OMP_NUM_THREADS=1"
IDEA = '''"""An idea that has nothing to do with the label."""

import numpy as np

from ontime.ideas import Idea


def remainder(tables, start, end, _, __):
    appointments = tables["appointments"]
    period = appointments[appointments["at"].between(start, end, inclusive="left")]
    return {"of_7": (period["number"].to_numpy() * 31 % 7).astype(np.float64)}


IDEAS = {"remainder": Idea("of a division", remainder)}
'''


def test_an_idea_is_measured_and_stays_out_of_features_and_stages(tiny: Project) -> None:
    refused = tiny.attempt("study-features", ONE_THREAD)
    (tiny.folder / "src/ontime/problem/ideas.py").write_text(IDEA)

    page = tiny.folder / "docs/what-features-are-worth.md"
    before = page.read_text() if page.exists() else None
    unknown = tiny.attempt("study-features", "IDEA=remainer", ONE_THREAD)
    one = tiny.make("study-features", "IDEA=remainder", ONE_THREAD)
    after_one = page.read_text() if page.exists() else None
    output = tiny.make("study-features", ONE_THREAD)

    assert refused.returncode
    assert "study features: all features are the request's" in refused.stdout
    assert unknown.returncode
    assert "there is no idea remainer in problem/ideas.py, which has remainder" in unknown.stdout
    assert after_one == before
    assert "| **remainder**: of a division | 1 |" in one
    assert "study features: measured in" in one
    assert "Running stage" not in output
    report = tiny.json("reports/study_features.json")
    assert [(row["kind"], row["name"], row["features"], row["verdict"]) for row in report["rows"]] == [
        ("idea", "remainder", 1, "within noise")
    ]
    assert report["all"]["features"] == report["request"]["features"] == 4
    assert (tiny.folder / "reports/study_features.png").exists()
    assert "| **remainder**: of a division | 1 |" in page.read_text()
    assert "remainder" not in (tiny.folder / "models/training.json").read_text()
    assert "Running stage" not in tiny.make("train", ONE_THREAD)
