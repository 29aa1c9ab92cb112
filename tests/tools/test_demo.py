"""The parts of `ontime demo`: its fault, its charts, its policy, and the copy of the project that it works in."""

import os
import subprocess
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from monitoring.policy import Action, Decision
from ontime import contract, sources
from ontime.datasets import Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.settings import Settings
from pipelines.tools import demo, demo_charts, demo_console, demo_days, demo_fault, demo_project, demo_steps, demo_story
from pipelines.tools.demo_days import DayResult
from pipelines.tools.demo_fault import Fault
from tests import PARAMS_YAML

DAY = date(2013, 3, 2)


@pytest.fixture(scope="module")
def feed(raw: Tables) -> Tables:
    return sources.cut(raw, midnight(DAY - timedelta(days=2)), midnight(DAY + timedelta(days=2)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of three files, one of which git ignores; the environment is restored afterwards."""
    made = tmp_path / "project"
    made.mkdir()
    (made / ".gitignore").write_text("/var/\n")
    (made / "params.yaml").write_text("dataset: mine\n")
    (made / "var").mkdir()
    (made / "var/ontime.db").write_text("predictions of the user")
    monkeypatch.chdir(made)
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    variables = dict(os.environ)
    yield made
    os.environ.clear()
    os.environ.update(variables)


# The fault.


def test_the_fault_is_one_that_the_contract_refuses_from_its_day_on(feed: Tables) -> None:
    fault = demo_fault.choose_fault(feed, DAY)

    planted = fault.plant(feed)

    assert fault.place == "weather.temp_f"
    before, after = (
        sources.cut(planted, midnight(day), midnight(day + timedelta(days=1))) for day in (DAY - timedelta(days=1), DAY)
    )
    assert contract.violations_of_day(before, "weather", before["weather"]) == ()
    assert "weather.temp_f" in contract.violations_of_day(after, "weather", after["weather"])[0]


def test_a_feed_without_limits_is_refused_with_what_to_do(feed: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_fault, "FACTOR", 1)  # within all limits

    with pytest.raises(demo_fault.NoFault, match=r"give a column of problem/data\.py limits"):
        demo_fault.choose_fault(feed, DAY)


# The days.


def test_the_first_model_gets_enough_rows_and_days(params: Params, raw: Tables) -> None:
    start = demo_days.first_day_of_service(params, raw)

    assert start is not None
    rows = sources.cut(raw, midnight(date(2013, 1, 1)), midnight(start))["flights"]
    assert len(rows) >= demo_days.FIRST_ROWS
    assert (start - date(2013, 1, 1)).days >= demo_days.FIRST_DAYS


def test_a_dataset_without_days_for_production_is_too_short(params: Params, raw: Tables) -> None:
    longer = params.retrain.model_copy(update={"train_days": 300})

    assert demo_days.first_day_of_service(params.model_copy(update={"retrain": longer}), raw) is None


def test_the_policy_waits_for_fewer_days_and_outcomes_in_the_same_ratio(params: Params) -> None:
    policy, given = demo.impatient(params).policy, params.policy

    assert policy.refresh_days < given.refresh_days
    assert policy.min_labels / given.min_labels == pytest.approx(policy.refresh_days / given.refresh_days, rel=0.01)
    assert policy.shadow_labels / given.shadow_labels == pytest.approx(policy.shadow_days / given.shadow_days, rel=0.01)
    assert policy.margin_log_loss == given.margin_log_loss


def test_a_decision_that_does_not_come_is_told_with_the_last_one(
    params: Params, feed: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo_story, "play", lambda _, day: played(day, Action.NOTHING, "nothing is wrong"))
    story = demo_story.Story(
        None, params, feed, DAY, Fault("weather", "temp_f", DAY, 1.0), demo_console.Console(pause=False)  # type: ignore[arg-type]  # no step reads the settings
    )  # fmt: skip

    with pytest.raises(demo_story.StepFailed, match=r"'promote' within 2 days; .* monitor: 2013-03-03: nothing: not"):
        story.play_until(None, Action.PROMOTE, 2)  # type: ignore[arg-type]  # as above

    assert [day.day for day in story.days] == [DAY, DAY + timedelta(days=1)]


def test_a_step_that_the_others_did_without_is_told_at_the_end(
    settings: Settings, params: Params, feed: Tables, capsys: pytest.CaptureFixture[str]
) -> None:
    story = demo_story.Story(
        settings, params, feed, DAY, Fault("weather", "temp_f", DAY, 1.0), demo_console.Console(pause=False),
        days=[played(DAY, Action.NOTHING, "nothing is wrong")], missing="the gate rejected the candidate",
    )  # fmt: skip

    with pytest.raises(demo_story.StepFailed, match="the gate rejected the candidate"):
        demo_steps.end_demo(story)

    assert "10 predictions, each stored; 0 decisions in an intact chain" in capsys.readouterr().out


def played(day: date, action: Action, reason: str) -> DayResult:
    return DayResult(day, "1", 10, 0.1, {}, (), Decision(action, reason))


# The charts.


def test_an_interval_that_contains_zero_is_drawn_across_it() -> None:
    axis, scale = demo_charts.interval(-0.01, 0.005, 0.01)

    assert (axis.count("┼"), axis.index("┼")) == (1, scale.index("0"))
    assert axis.index("├") < axis.index("┼") < axis.index("●") < axis.index("┤")


def test_days_of_one_value_are_drawn_alike() -> None:
    assert demo_charts.heights([0.5, 0.5, None]) == "██·"


# The copy of the project.


def test_the_copy_has_uncommitted_changes_and_nothing_that_git_ignores(folder: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], check=True)
    (folder / "new.txt").write_text("not committed")
    copy = tmp_path / "copy"
    copy.mkdir()

    demo_project.copy_into(copy)

    assert {path.name for path in copy.iterdir()} == {".git", ".gitignore", "params.yaml", "new.txt"}
    assert subprocess.run(["git", "status", "--porcelain"], cwd=copy, capture_output=True, text=True).stdout == ""
    assert not (folder / ".git/index").exists()  # of the user's repository, which was not touched


def test_a_download_without_a_repository_is_copied_too(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()

    demo_project.copy_into(copy)

    assert (copy / "params.yaml").read_text() == (folder / "params.yaml").read_text()
    assert not (folder / ".git").exists()


def test_no_store_of_the_user_is_named_in_the_copy_which_is_deleted_after_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONTIME_DATABASE_URL", "postgresql://production/ontime")
    monkeypatch.setenv("ONTIME_ACTOR", "desk")

    seen = dict[str, str]()

    def fail() -> None:
        with demo_project.temporary_project(keep=False):
            seen.update(os.environ, FOLDER=str(Path.cwd()))
            raise demo_story.StepFailed("such as a gate that rejects")

    with pytest.raises(demo_story.StepFailed):
        fail()

    copy = seen["FOLDER"]
    assert [name for name in seen if name.startswith("ONTIME_")] == ["ONTIME_ACTOR"]
    assert seen["PYTHONPATH"] == f"{copy}:{copy}/src"
    assert (Path.cwd(), Path(copy).exists()) == (folder, False)


def test_the_copy_stays_where_it_is_asked_for(folder: Path) -> None:
    with demo_project.temporary_project(keep=True) as copy:
        pass

    assert copy.parent == folder.parent / "temporary"
    assert (copy / "params.yaml").exists()


def test_a_policy_that_waits_for_a_person_is_refused(folder: Path) -> None:
    text = PARAMS_YAML.read_text().replace("approval_required: false", "approval_required: true")
    (folder / "params.yaml").write_text(text)

    with pytest.raises(demo.DemoRefused, match="nobody approves a release here"):
        demo.begin(demo_console.Console(pause=False))


@pytest.mark.usefixtures("folder")
def test_without_git_it_says_what_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(demo_project.GitMissing, match="git is not installed"):
        demo_project.copy_into(tmp_path)
