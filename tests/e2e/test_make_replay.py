"""`make replay MONTHS=2`: the whole loop on the real data, through the real service and the real DVC."""

import re
from typing import Any

import pytest

from tests.project import Project

REPORT = "reports/replay_2013-04-01_2013-06-01"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """With fewer trees: the replay fits them three times, and 80 are enough for every claim here."""
    made = Project(tmp_path_factory.mktemp("replayed"))
    params = made.folder / "params.yaml"
    fewer, count = re.subn(r"(  lightgbm:\n    n_estimators: )\d+", r"\g<1>80", params.read_text())
    assert count == 1
    params.write_text(fewer)
    author = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    made.git(*author, "commit", "--quiet", "--all", "--message", "Fewer trees")
    return made


@pytest.fixture(scope="module")
def report(project: Project) -> Any:
    project.make("replay", "MONTHS=2", "OMP_NUM_THREADS=1")
    return project.json(f"{REPORT}.json")


def test_every_flight_of_two_months_is_materialised_answered_and_compared_bit_for_bit(report: Any) -> None:
    assert [month["month"] for month in report["months"]] == ["2013-04", "2013-05"]
    assert report["parity"]["entities"] > 56_000
    assert report["parity"]["differing"] == 0
    assert report["whole"]["entities"] > 55_000


def test_what_answers_is_far_better_than_a_table_of_rates_and_no_leak(report: Any) -> None:
    mean = report["mean_monthly_auc"]

    assert mean["rate_table"] + 0.08 < mean["retrained"] < 0.85
    assert report["whole"]["saved_per_1000"]["against no alerts"] > 0


def test_each_day_was_looked_at_once_and_a_retraining_went_through_the_gate(report: Any) -> None:
    days = [day["day"] for day in report["days"]]
    begun = [event for event in report["timeline"] if event["kind"] == "retraining"]
    judged = [event for event in report["timeline"] if event["kind"] == "gate"]

    assert len(days) == len(set(days)) == 61
    assert len(begun) >= 2  # the first model's, and those that the policy started
    assert len(judged) == len(begun)


def test_seasons_alone_moved_nothing(report: Any) -> None:
    seasonal = [day for day in report["days"] if {alert["name"] for alert in day["alerts"]} == {"feature_psi"}]
    moved = {event["day"] for event in report["timeline"] if event["kind"] in ("retraining", "rollback")}

    assert seasonal
    assert not moved & {day["day"] for day in seasonal}


def test_the_page_is_complete_in_itself(report: Any, project: Project) -> None:
    page = (project.folder / f"{REPORT}.html").read_text()

    assert page.count("<svg") == page.count("<figcaption>") == 3
    assert "<img" not in page
    assert "<h1>2 months in production</h1>" in page
    assert f"{report['whole']['entities']:,} labelled flights" in page
    assert "http" not in page.replace("http://127.0.0.1", "")
