"""`ontime`: from any folder, with the project's environment; a wrong call or a refusal is one sentence and a status."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import click
import pytest
from click.testing import CliRunner, Result

from cli.app import ontime
from cli.project_commands import ProjectCommand
from ontime import environment, locks
from ontime.settings import BadSettings, Settings
from pipelines.operations import prune, train_and_promote
from pipelines.tools import doctor
from tests import PARAMS_YAML, ROOT, service, without_settings
from tests.project import VENV

HEAVY = ("pandas", "sqlalchemy", "pydantic", "mlflow", "pipelines", "serving", "monitoring")
OWN_PROCESS = {"serve", "completion"}  # one replaces this process, the other reads nothing of the project


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Commands run in this process, as if the project were in this empty folder."""
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "enforce", lambda: None)
    monkeypatch.setenv("TQDM_DISABLE", "")  # so that it is restored
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*words: str) -> Result:
    return CliRunner().invoke(ontime, words, prog_name="ontime")


def ontime_process(
    *words: str, folder: Path = ROOT, variables: Mapping[str, str] = MappingProxyType({})
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(VENV / "bin/ontime"), *words],
        cwd=folder,
        env={**without_settings(), **variables},
        capture_output=True,
        text=True,
    )


def runnable_commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    """All commands by name, those of a group with its name before theirs."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", each) for inner, each in runnable_commands(command))
        else:
            yield name, command


def test_help_lists_every_command_once_with_a_sentence() -> None:
    text = call("--help").output

    for name, command in ontime.commands.items():
        assert len(re.findall(rf"^  {name}  +\S", text, re.MULTILINE)) == 1
        assert command.help
        assert "..." not in command.get_short_help_str(1000)
    assert set(ontime.commands) == {each.name for section in ontime.sections.values() for each in section}


def test_every_command_runs_with_the_projects_environment() -> None:
    runnable = dict(runnable_commands(ontime))

    assert {name for name, command in runnable.items() if not isinstance(command, ProjectCommand)} == OWN_PROCESS


def test_help_imports_nothing_that_takes_time() -> None:
    shows = f"import sys, cli.app; print([name for name in {HEAVY} if name in sys.modules])"

    result = subprocess.run([sys.executable, "-c", shows], cwd=ROOT, capture_output=True, text=True, check=True)

    assert result.stdout == "[]\n"


@pytest.mark.parametrize("path", ["Makefile", "infra/kubernetes/base/worker.yaml"])
def test_what_make_and_the_manifests_call_exists(path: str) -> None:
    text = (ROOT / path).read_text()

    called = set(re.findall(r"(?:\$\(ONTIME\)|\[ontime,|\bontime (?=retrain)|\$\(BACKUP\)) ?([a-z-]+)", text))

    assert len(called) >= 4
    assert called <= set(ontime.commands)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["promte", "2"], "No such command 'promte'"),
        (["promote"], "Missing argument 'VERSION'"),
        (["promote", "0"], "0 is not in the range x>=1"),
        (["canary", "2", "--share", "1.5"], "1.5 is not in the range 0<=x<=1"),
        (["approve", "2"], "Missing option '--reason'"),
        (["replay", "--months", "13"], "13 is not in the range 1<=x<=12"),
        (["replay", "--from", "June"], "'June' does not match the format '%Y-%m-%d'"),
        (["prune", "--dry_run"], "No such option"),
        (["restore", "nowhere"], "nowhere does not exist"),
        (["diagnose", "--against-until", "2013-07-01"], "--against-until needs --against-from"),
        (["study"], "Commands:"),
        (["study", "model"], "No such command 'model'"),
        (["serve", "--port", "0"], "0 is not in the range 1<=x<=65535"),
    ],
)
def test_a_wrong_call_has_the_status_2_and_runs_nothing(words: list[str], message: str, here: Path) -> None:
    result = call(*words)

    assert (result.exit_code, list(here.iterdir())) == (2, [])
    assert message in result.output


@pytest.mark.usefixtures("here")
def test_an_invalid_setting_is_one_sentence_and_the_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_WORKERS", "many")

    result = call("prune")

    assert result.exit_code == 1
    assert re.fullmatch(r"prune: ONTIME_WORKERS=many .*\n", result.output)


@pytest.mark.usefixtures("here")
def test_an_error_names_the_command_with_its_group() -> None:
    def refuse() -> None:
        raise BadSettings("ONTIME_WORKERS=many is not a number")

    commands = click.Group("ontime", [click.Group("study", [ProjectCommand("features", callback=refuse)])])

    result = CliRunner().invoke(commands, ["study", "features"], prog_name="ontime")

    assert (result.exit_code, result.output) == (1, "study features: ONTIME_WORKERS=many is not a number\n")


@pytest.mark.usefixtures("here")
def test_a_database_that_is_away_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(PARAMS_YAML, "params.yaml")
    monkeypatch.setenv("ONTIME_DATABASE_URL", "postgresql+psycopg://user@127.0.0.1:1/none")

    result = call("monitor")

    assert result.exit_code == 1
    assert re.fullmatch(r"monitor: .*connection.*\n", result.output)


@pytest.mark.usefixtures("here")
def test_an_interrupted_command_says_so_and_has_the_status_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(prune, "main", interrupt)

    result = call("prune", "--dry-run")

    assert (result.exit_code, result.output) == (130, "prune: interrupted\n")


@pytest.mark.usefixtures("here")
def test_serve_becomes_the_service_with_its_options_as_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[tuple[list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda _, command, variables: processes.append((command, variables)))

    assert call("serve", "--port", "9000").exit_code == 0

    ((command, variables),) = processes
    assert command == [sys.executable, "-m", "serving"]
    assert variables["ONTIME_PORT"] == "9000"
    assert "ONTIME_WORKERS" not in variables
    assert variables["DO_NOT_TRACK"] == "true"


@pytest.mark.usefixtures("here")
def test_after_a_training_the_last_line_says_what_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_and_promote, "main", lambda: print("promote: release 1 is live"))
    monkeypatch.setenv("ONTIME_PORT", "9000")
    training = "promote: release 1 is live\n"

    next_line = "train: next: `make serve`, then open http://127.0.0.1:9000/; all commands: `make help`\n"
    assert call("train").output == training + next_line
    assert call("--quiet", "train").output == training


@pytest.mark.usefixtures("here")
def test_after_a_failed_training_nothing_is_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_and_promote, "main", lambda: sys.exit("train: `dvc repro` failed"))

    result = call("train")

    assert (result.exit_code, result.output) == (1, "train: `dvc repro` failed\n")


@pytest.mark.usefixtures("here")
def test_quiet_is_passed_on_to_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(prune, "main", lambda **_: seen.append(os.environ["TQDM_DISABLE"]))

    call("--quiet", "prune")

    assert seen == ["1"]


def test_completion_is_a_script_of_the_shell() -> None:
    completed = ontime_process(
        variables={"COMP_WORDS": "ontime pro", "COMP_CWORD": "1", "_ONTIME_COMPLETE": "bash_complete"}
    )

    assert "_ONTIME_COMPLETE=bash_complete" in call("completion", "bash").output
    assert completed.stdout == "plain,profile\nplain,promote\n"


def test_the_version_is_that_of_the_project() -> None:
    assert re.fullmatch(r"ontime \d+\.\d+\.\d+\n", call("--version").output)


@pytest.mark.slow
def test_it_runs_from_any_folder_with_paths_of_that_folder() -> None:
    result = ontime_process("decisions", "../examples/bikes", folder=ROOT / "src")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "decisions: none is open; next: make adopt FROM=examples/bikes\n"


@pytest.mark.slow
def test_doctor_finds_what_is_wrong_in_words_and_as_json() -> None:
    words = ontime_process(
        "doctor", variables={"ONTIME_DATABASE_URL": "sqlite:////nowhere/ontime.db", "ONTIME_RELEASES": "nowhere"}
    )
    refused = ontime_process("doctor", "--json", variables={"ONTIME_WORKERS": "many"})

    assert words.returncode == 0, words.stdout
    assert re.search(r"^ok +packages +as locked in requirements/all\.txt$", words.stdout, re.MULTILINE)
    assert re.search(r"^note +release +none is live: run make train$", words.stdout, re.MULTILINE)
    assert refused.returncode == 1
    problems = [each for each in json.loads(refused.stdout) if each["status"] == "problem"]
    assert [each["topic"] for each in problems] == ["settings"]
    assert "ONTIME_WORKERS=many" in problems[0]["text"]


@pytest.mark.slow
def test_uv_runs_it_in_the_environment_as_it_is() -> None:
    """Without `managed = false` in pyproject.toml, uv would resolve the versions itself and write a lock of its own."""
    before = {path.name for path in ROOT.iterdir()}

    result = subprocess.run(
        [str(VENV / "bin/uv"), "run", "--offline", "ontime", "--version"], cwd=ROOT, capture_output=True, text=True
    )

    assert (result.returncode, result.stdout) == (0, call("--version").output)
    assert {path.name for path in ROOT.iterdir()} == before


@pytest.mark.parametrize(
    ("version", "workers", "status"),
    [
        ((3, 40, 1), 2, "note"),
        ((3, 40, 1), 1, "ok"),
        ((3, 50, 6), 2, "note"),
        ((3, 50, 7), 2, "ok"),
        ((3, 51, 2), 2, "note"),
        ((3, 51, 3), 2, "ok"),
        ((3, 44, 6), 2, "ok"),
        ((3, 45, 0), 2, "note"),
    ],
)
def test_doctor_knows_the_versions_of_sqlite_that_may_lose_rows(
    version: tuple[int, ...], workers: int, status: str
) -> None:
    assert doctor._sqlite(version, workers).status == status


@pytest.mark.slow
def test_results_are_json_for_scripts(settings: Settings) -> None:
    variables = {name: value for name, value in service.environment(settings).items() if name.startswith("ONTIME_")}
    variables["ONTIME_QUARANTINE"] = str(settings.spool.parent / "quarantine")

    audit = json.loads(ontime_process("audit", "--json", variables=variables).stdout)
    prune = json.loads(ontime_process("prune", "--dry-run", "--json", variables=variables).stdout)

    performance = json.loads(ontime_process("performance", "--json", variables=variables).stdout)
    compare = ontime_process("compare", "--json", variables=variables)

    assert (audit["is_intact"], audit["decisions"]) == (True, [])
    assert performance == {"page": None, "report": None}  # nothing has been predicted
    assert (compare.returncode, compare.stdout) == (1, "")
    assert "there is no challenger" in compare.stderr
    assert prune["dry_run"]
    assert set(prune["counts"].values()) == {0}


@pytest.mark.slow
def test_a_command_ends_with_sigterm_also_as_the_first_process_of_a_container(tmp_path: Path) -> None:
    """The kernel gives a first process no default action, so the command needs a handler. It waits here for a lock."""
    keys = tmp_path / "keys.json"
    variables = {"ONTIME_API_KEYS": str(keys), "ONTIME_DATABASE_URL": f"sqlite:///{tmp_path}/ontime.db"}
    with locks.hold(tmp_path / ".keys.json.lock", "a test"):
        process = subprocess.Popen(
            [str(VENV / "bin/ontime"), "key", "desk", "predict"],
            env={**without_settings(), **variables}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stderr is not None
        assert "waiting, because a test" in process.stderr.readline()
        process.terminate()

        assert process.wait(timeout=30) == 128 + signal.SIGTERM  # not -15: a handler of our own has run
    assert not keys.exists()
