"""Another problem replaces this one by one command: trained, served, monitored, without a word about flights."""

import re
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page

from pipelines.operations.local_server import free_port, run_server
from tests import ROOT, browser
from tests.project import Project
from tests.service import Served, Service

# Words of the replaced problem. "Late" and "flight" also have other meanings: a late response, requests in flight.
WORDS = re.compile(
    r"\b(flights?|airlines?|airports?|depart\w*|arriv\w*|carriers?|EWR|JFK|LGA|thanksgiving)\b", re.IGNORECASE
)
DAY = date(2012, 11, 14)
STUDIES = (
    "what-features-are-worth", "what-the-model-is-worth", "what-searching-is-worth", "what-models-are-worth",
    "what-compression-costs",
)  # fmt: skip
WRITTEN = (
    "reports/model_card.md", "reports/eda.md", "reports/data_quality.json", "reports/evaluation.json",
    "docs/features.md",
)  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("adopted"))
    for name, value in (("user.name", "test"), ("user.email", "test@localhost")):
        made.git("config", name, value)
    made.make("adopt", "FROM=examples/bikes")
    return made


@pytest.fixture(scope="module")
def trained(project: Project) -> Project:
    """With fewer trees: no claim here is about the quality of the model, and two studies fit it dozens of times."""
    params = project.folder / "params.yaml"
    fewer, count = re.subn(r"( {4}(?:n_estimators|max_iter): )\d+", r"\g<1>60", params.read_text())
    assert count == 2
    params.write_text(fewer)
    project.make("train", "OMP_NUM_THREADS=1")
    return project


def weeks_behind() -> str:
    """The number of weeks that puts the feed's yesterday into the week of DAY."""
    return str((datetime.now(UTC).date() - DAY).days // 7)


def test_nothing_else_is_touched(project: Project) -> None:
    changed = {line[3:] for line in project.git("status", "--porcelain").splitlines()}

    ours = ("src/ontime/problem/", "tests/problem/", "tests/reference/", "reports/", "docs/screenshots/")
    documents = {
        f"docs/{name}.md"
        for name in ("features", "class_imbalance", "gate", "params", "http-api", "notebook", *STUDIES)
    }
    generated = {"params.yaml", "dvc.lock", *documents}
    assert {"params.yaml"} <= {path for path in changed if not path.startswith(ours)} <= generated


def run_tests(project: Project, *paths: str) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "pytest", *paths]
    return subprocess.run(words, cwd=project.folder, env=project.environment(), capture_output=True, text=True)


def test_its_own_tests_pass_and_so_do_the_rules_of_the_repository(trained: Project) -> None:
    completed = run_tests(trained, "tests/problem", "tests/repository")

    assert completed.returncode == 0, completed.stdout


def test_the_tests_of_the_machinery_go_on_with_the_problem_that_they_know(trained: Project) -> None:
    completed = run_tests(trained, "tests/library/test_contract.py", "tests/serving/test_serving.py")

    assert completed.returncode == 0, completed.stdout


def test_uncommitted_work_is_never_lost(project: Project) -> None:
    completed = project.attempt("adopt", "FROM=examples/bikes")

    assert completed.returncode
    assert "adopt: commit or stash your changes first" in completed.stdout


def test_releases_and_predictions_are_not_lost_unasked(tiny: Project) -> None:
    completed = tiny.attempt("adopt", "FROM=examples/bikes")

    assert completed.returncode
    assert "adopt: releases, var/mlflow.db, var/ontime.db would be deleted" in completed.stdout
    assert "then make adopt FROM=examples/bikes REPLACE=1" in completed.stdout


@pytest.mark.parametrize("path", WRITTEN)
def test_what_the_stages_write_speaks_of_bikes(path: str, trained: Project) -> None:
    assert WORDS.findall((trained.folder / path).read_text()) == []


def test_without_ideas_its_families_are_measured(trained: Project) -> None:
    trained.make("study-features", "OMP_NUM_THREADS=1")

    report = trained.json("reports/study_features.json")
    page = (trained.folder / "docs/what-features-are-worth.md").read_text()
    assert {row["kind"] for row in report["rows"]} == {"out", "in"}
    assert WORDS.findall(page) == []


def test_what_each_of_its_families_saves_is_measured(trained: Project) -> None:
    trained.make("study-value", "OMP_NUM_THREADS=1")

    steps = trained.json("reports/study_value.json")["steps"]
    page = (trained.folder / "docs/what-the-model-is-worth.md").read_text()
    assert [step["name"] for step in steps][:2] == ["no alerts", "rate_table"]
    assert len(steps) > len(["no alerts", "rate_table", "the request's features", "newest months"])
    assert steps[0]["cost_per_1000"] > steps[-1]["cost_per_1000"]
    assert WORDS.findall(page) == []


def test_its_documentation_is_built(trained: Project) -> None:
    (trained.folder / "var/docs-venv").symlink_to(ROOT / "var/docs-venv")

    trained.make("docs-reference")
    trained.make("--assume-old=var/docs-venv/.installed", "docs")

    site = trained.folder / "var/site/docs"
    assert (site / "features.html").exists()
    assert not (site / "gate.html").exists()  # nothing has measured this gate
    for name in ("params", "http-api"):
        text = (trained.folder / f"docs/{name}.md").read_text()
        assert [word for word in WORDS.findall(text) if not word.startswith("arriv")] == []  # labels arrive, too


@pytest.fixture(scope="module")
def service(trained: Project) -> Any:
    started = Served(trained)
    yield started
    started.kill()


def test_it_answers_and_takes_outcomes(service: Service) -> None:
    listed = service.get(f"/v1/entities?day={DAY}&limit=24")["entities"]
    answers = service.post("/v1/predictions?explain=true", [each["request"] for each in listed[:20]])
    outcome = service.get(f"/v1/outcomes/{listed[17]['entity_id']}")

    assert len(listed) == 24
    assert {answer["features"] for answer in answers} == {"online"}
    assert {answer["flags"] == [] for answer in answers} == {True}
    assert outcome["words"].endswith(" rentals: busy (busy from 300 on).")
    reason_texts = [reason["words"] for answer in answers for reason in answer["reasons"]["features"]]
    assert WORDS.findall("\n".join(reason_texts)) == []


def test_a_day_is_monitored(trained: Project, service: Service) -> None:
    today = datetime.now(ZoneInfo("America/New_York")).date()
    yesterday = today - timedelta(weeks=int(weeks_behind()), days=1)
    for day in (yesterday, yesterday - timedelta(days=1)):
        listed = service.get(f"/v1/entities?day={day}&limit=24")["entities"]
        service.post("/v1/predictions", [each["request"] for each in listed])

    completed = trained.attempt("monitor", ONTIME_WEEKS_BEHIND=weeks_behind())

    assert completed.returncode == 0, completed.stdout
    assert re.search(rf"monitor: {yesterday}: \w+", completed.stdout)
    assert "stop" not in completed.stdout


@pytest.mark.parametrize("path", ["/openapi.json", "/v1/problem", "/v1/model", "/v1/ops", "/metrics"])
def test_what_the_service_tells_speaks_of_bikes(path: str, service: Service) -> None:
    assert WORDS.findall(str(service.get(path))) == []


@pytest.mark.parametrize("path", ["/", "/ops"])
def test_the_pages_speak_of_bikes(path: str, service: Service) -> None:
    with browser.running() as chromium:
        page: Page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{service.port}{path}")
        page.locator("#answer .claim" if path == "/" else "#answering .version").wait_for()
        shown = page.locator("body").inner_text()

    assert WORDS.findall(shown) == []
    assert "in 100 hours like this are busy." in shown or path == "/ops"


def metrics_of_the_stream(project: Project, folder: Path) -> str:
    """/metrics of `ontime stream` with a broker of its own, before any event."""
    port = free_port()
    command = [str(project.folder / ".venv/bin/python"), "-m", "cli", "stream"]
    environment = project.environment(ONTIME_STREAM_PORT=str(port))
    with (
        run_server(
            command, port, name="the stream", ready="/metrics", ready_seconds=60, log=folder / "stream.log",
            env=environment, cwd=project.folder,
        ),
        urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response,
    ):  # fmt: skip
        return str(response.read().decode())


def test_every_series_of_the_dashboards_exists(trained: Project, service: Service, tmp_path: Path) -> None:
    metrics = str(service.get("/metrics")) + metrics_of_the_stream(trained, tmp_path)
    exposed = set(re.findall(r"^# TYPE (ontime_\w+) ", metrics, re.MULTILINE))
    queried = {
        name
        for path in Path(trained.folder / "infra").rglob("*")
        if path.suffix in (".json", ".yaml") and path.parent.name in ("dashboards", "prometheus")
        for name in re.findall(r"\bontime_\w+?(?=_bucket|_sum|_count|\b)", path.read_text())
    }

    assert queried
    # Exposed only while there is an alert, a request, a mirror beside the service, or a backup.
    conditional = {
        "ontime_alert",
        "ontime_retraining_requested_timestamp_seconds",
        "ontime_mirror_succeeded_seconds",
        "ontime_backup_succeeded_seconds",
    }
    assert queried - exposed <= conditional


def test_a_problem_with_nothing_to_look_up_is_answered_and_monitored(tiny: Project) -> None:
    behind = str((datetime.now(UTC).date() - date(2020, 7, 15)).days // 7)
    yesterday = datetime.now(ZoneInfo("Asia/Kolkata")).date() - timedelta(weeks=int(behind), days=1)
    service = Served(tiny)
    try:
        listed = service.get(f"/v1/entities?day={yesterday}&limit=200")["entities"]
        predictions = service.post("/v1/predictions?explain=true", [each["request"] for each in listed[:20]])
        service.post("/v1/predictions", [each["request"] for each in listed[20:]])
        stranger = service.post("/v1/predictions", {**listed[0]["request"], "number": 999_999})
        monitored = tiny.attempt("monitor", ONTIME_WEEKS_BEHIND=behind)
    finally:
        service.kill()

    assert len(listed) == 60
    assert [answer["flags"] for answer in (*predictions, stranger)] == [[]] * 21
    assert (predictions[0]["features"], stranger["features"]) == ("online", "request")
    assert {reason["feature"] for reason in predictions[0]["reasons"]["features"]} <= {
        "clinic",
        "days_ahead",
        "minute",
        "weekday",
    }
    assert re.search(rf"monitor: {yesterday}: nothing", monitored.stdout), monitored.stdout
