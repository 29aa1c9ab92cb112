"""A retraining runs once per request, on a later window, in a clone of this folder's current commit."""

import shutil
import signal
import subprocess
from datetime import date, timedelta
from pathlib import Path

import psutil  # type: ignore[import-untyped]  # dvc brings it, and nobody its types
import pytest
import sqlalchemy as sa
import yaml

from ontime import database, release_pointer
from ontime.local_time import midnight
from ontime.params import Params, Retrain
from ontime.settings import Settings
from pipelines.operations import retrain
from tests.production import MONDAY, SUNDAY, TUESDAY, WEDNESDAY, verdicts
from tests.service import wait_for


def record_for_day(engine: sa.Engine, kind: str, verdict: str, day: date) -> None:
    database.record_decision(engine, kind, verdict, {"day": str(day), "reason": "for a test"})


def test_a_retraining_stays_requested_until_it_is_done(engine: sa.Engine) -> None:
    days = [retrain.requested_day(engine)]
    for kind, verdict, day in (
        ("policy", "nothing", MONDAY),
        ("policy", "retrain", TUESDAY),
        ("policy", "nothing", WEDNESDAY),
        ("retraining", "begun", TUESDAY),
        ("retrained", "done", TUESDAY),
        ("policy", "retrain", SUNDAY),
    ):
        record_for_day(engine, kind, verdict, day)
        days.append(retrain.requested_day(engine))

    assert days == [None, None, TUESDAY, TUESDAY, TUESDAY, None, SUNDAY]


def test_a_retraining_that_was_begun_by_hand_is_resumed_until_it_is_done(engine: sa.Engine) -> None:
    days = []
    for kind, verdict, day in (
        ("retraining", "begun", MONDAY),
        ("policy", "retrain", TUESDAY),
        ("retraining", "begun", TUESDAY),
        ("retrained", "refused", TUESDAY),
        ("retraining", "begun", WEDNESDAY),
        ("retrained", "done", WEDNESDAY),
    ):
        record_for_day(engine, kind, verdict, day)
        days.append(retrain.requested_day(engine))

    # That of Monday is not resumed after one with more data.
    assert days == [MONDAY, TUESDAY, TUESDAY, None, WEDNESDAY, None]


def test_a_retraining_holds_out_the_last_days_and_excludes_later_data(params: Params) -> None:
    day = date(2013, 5, 31)
    section = {"train_days": 1, "candidates": ["lightgbm"], "valid_days": 3, "test_days": 10}
    params = params.model_copy(update={"retrain": Retrain.model_validate(section)})

    window = retrain.window_params(params, day, midnight(day + timedelta(days=1)))

    values = {name: yaml.safe_load(value) for name, value in window.items()}
    assert values == {
        "dataset": "flights-2013",
        "known_until": "2013-06-01T04:00:00+00:00",
        "split.train_from": "2013-01-01",
        "split.valid_from": "2013-05-19",
        "split.test_from": "2013-05-22",
        "split.test_until": "2013-06-01",
        "train.candidates": ["lightgbm"],
        "evaluate.full_card": False,
    }


def test_a_retraining_changes_only_existing_parameters(params: Params) -> None:
    window = retrain.window_params(params, WEDNESDAY, midnight(WEDNESDAY + timedelta(days=1)))
    plain = params.model_dump(mode="json")
    for name, value in window.items():
        *sections, last = name.split(".")
        section = plain
        for each in sections:
            section = section[each]
        assert last in section
        section[last] = yaml.safe_load(value)

    changed = Params.model_validate(plain)

    assert changed.known_until == midnight(WEDNESDAY + timedelta(days=1))
    assert changed.split.test_until - changed.split.test_from == timedelta(days=params.retrain.test_days)
    assert changed.train.candidates == params.retrain.candidates


def test_a_retraining_too_early_in_a_dataset_does_not_start(settings: Settings, params: Params) -> None:
    result = retrain.run(settings, params, date(2013, 2, 10))

    assert result == "17 days of flights-2013 are available for training, and retrain.train_days requires 21"
    decision = database.last_decision(database.connect(settings.database_url), "retrained")
    assert decision is not None
    assert decision.verdict == "too early"


def test_an_interrupted_retraining_leaves_nothing_running(tmp_path: Path) -> None:
    class CutOff(Exception):
        pass

    def cut_off(*_: object) -> None:
        raise CutOff

    before = signal.signal(signal.SIGALRM, cut_off)
    signal.setitimer(signal.ITIMER_REAL, 1)
    try:
        with pytest.raises(CutOff):
            retrain._run(["bash", "-c", f"sleep 600 & echo $! > {tmp_path}/stage; wait"])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    stage = int((tmp_path / "stage").read_text())
    wait_for(lambda: not _runs(stage))


def test_a_retraining_waits_until_a_trial_has_ended(world: Settings, engine: sa.Engine, params: Params) -> None:
    release_pointer.set_challenger(world.releases, "2")

    assert (
        retrain.run(world, params, MONDAY) == "release 2 challenges the champion, and a retraining would end its trial"
    )
    assert verdicts(engine) == []


def _runs(process: int) -> bool:
    """Whether a process is running; zombies do not count."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def commit(folder: Path, text: str) -> str:
    (folder / "code.py").write_text(text)
    for words in ("init -q", "add code.py", "-c user.name=t -c user.email=t@localhost commit -qm x"):
        subprocess.run(["git", *words.split()], cwd=folder, check=True)
    return subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_the_clone_of_a_copied_folder_has_the_commit_of_the_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, copied = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    commit(original, "one")
    monkeypatch.chdir(original)
    retrain.update_clone(Path("var/retraining"))
    shutil.copytree(original, copied)
    commit(copied, "two")
    monkeypatch.chdir(copied)

    workspace = retrain.update_clone(Path("var/retraining"))

    assert (workspace / "code.py").read_text() == "two"
    assert (original / "var/retraining/code.py").read_text() == "one"


def test_an_interrupted_clone_and_a_stale_git_lock_do_not_stop_the_next_retraining(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(tmp_path, "one")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var/.retraining.cloning/.git").mkdir(parents=True)
    clone = retrain.update_clone(Path("var/retraining"))
    for left in ("index.lock", "HEAD.lock", "refs/remotes/origin/HEAD.lock"):
        (clone / ".git" / left).parent.mkdir(parents=True, exist_ok=True)
        (clone / ".git" / left).touch()

    again = retrain.update_clone(Path("var/retraining"))

    assert (again / "code.py").read_text() == "one"


def test_the_database_is_the_same_one_from_the_clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "what? & where #"
    (folder / "var/retraining").mkdir(parents=True)
    monkeypatch.chdir(folder)

    url = retrain._from(Path("var/retraining"), "sqlite:///var/ontime.db")

    monkeypatch.chdir("var/retraining")
    assert Path(url.removeprefix("sqlite:///")).resolve() == folder / "var/ontime.db"
    assert retrain._from(Path(), "postgresql://u:secret@h/d") == "postgresql://u:secret@h/d"


@pytest.mark.parametrize("left", ["", ".git"])
def test_a_workspace_that_is_not_a_clone_is_never_taken_for_the_repository_around_it(
    left: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git searches the parent folders, which here are the user's own repository with uncommitted work."""
    commit(tmp_path, "one")
    (tmp_path / "code.py").write_text("not yet committed")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var/retraining" / left).mkdir(parents=True)

    try:
        assert (retrain.update_clone(Path("var/retraining")) / "code.py").read_text() == "one"
    except retrain.NotRetrained:
        assert left == ".git"

    assert (tmp_path / "code.py").read_text() == "not yet committed"
    head = subprocess.run(["git", "symbolic-ref", "-q", "HEAD"], cwd=tmp_path)
    assert head.returncode == 0
