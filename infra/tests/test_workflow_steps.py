"""Runs the scripts of the workflows, with this project's make where it is fast, and with fakes of other commands."""

import json
import re
from pathlib import Path

import pytest

from infra.tests.workflows import STEPS, Runner, step
from tests.project import Project

DIGEST = f"sha256:{'5' * 64}"
LIST_OF_DIGESTS = f'[[ "$*" == *inspect* ]] && echo "${{@: -1}}" | sed "s/:v.*/@{DIGEST}/"; true'
WORD = "a word that nobody else says"
GITHUB = {"GH_TOKEN": "t", "GH_REPO": "o/r"}
PUSH = {
    "TOKEN": WORD,
    "GITHUB_REPOSITORY_OWNER": "Some-Owner",
    "GITHUB_ACTOR": "a",
    "GITHUB_REF_NAME": "v1.2.3",
}
# Run below. All others are a single `make`, which test_workflows.py checks with a dry run.
RUN_HERE = {
    "check.yml: PostgreSQL and a browser, Ubuntu",
    "check.yml: PostgreSQL, OpenMP and a browser, macOS",
    "check.yml: Prometheus and Alertmanager",
    "check.yml: Clone into WSL",
    "check.yml: make check test",
    "metrics.yml: make metrics",
    "metrics.yml: One comment, renewed by each push",
    "release.yml: The tag is the version of pyproject.toml",
    "release.yml: Push",
    "release.yml: Release",
    "weekly.yml: PostgreSQL and a browser",
    "weekly.yml: What has moved",
    "weekly.yml: Adopt bikes",
    "weekly.yml: One issue",
}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


@pytest.fixture
def runner(project: Project, tmp_path: Path) -> Runner:
    """A runner with the project checked out, in which `make` uses this environment."""
    runner = Runner(project.folder, tmp_path / "home")
    runner.fake("make", f'PATH="${{PATH#*:}}" exec {" ".join(project.command())} "$@"')
    return runner


@pytest.fixture
def bare(tmp_path: Path) -> Runner:
    """A runner without a checkout."""
    (tmp_path / "work").mkdir()
    return Runner(tmp_path / "work", tmp_path / "home")


def test_every_script_is_run_here_or_is_a_single_make() -> None:
    assert {str(each) for each in STEPS if not re.fullmatch(r"make [\w =-]+( #.*)?", each.script)} == RUN_HERE


@pytest.mark.parametrize(
    "name", [("check.yml", "PostgreSQL and a browser, Ubuntu"), ("weekly.yml", "PostgreSQL and a browser")]
)
def test_ubuntu_gets_a_database_and_lets_the_browser_make_its_sandbox(bare: Runner, name: tuple[str, str]) -> None:
    bare.fake("sudo")

    bare.run(step(*name))

    _, install, allow = bare.calls("sudo")
    assert "postgresql" in install
    assert allow.endswith("kernel.apparmor_restrict_unprivileged_userns=0")


def test_infra_gets_what_its_tests_start_and_none_of_it_as_a_service(bare: Runner) -> None:
    bare.fake("sudo")

    bare.run(step("check.yml", "Prometheus and Alertmanager"))

    _, install, stop = bare.calls("sudo")
    assert {"prometheus", "prometheus-alertmanager"} <= set(install.split())
    assert stop == "systemctl stop prometheus prometheus-alertmanager"


def test_macos_gets_a_database_and_a_browser_that_is_a_command(bare: Runner) -> None:
    bare.fake("brew", '[ "$1" != --prefix ] || echo "/opt/$2"')

    bare.run(step("check.yml", "PostgreSQL, OpenMP and a browser, macOS"))

    browsers, postgresql = bare.text_of("GITHUB_PATH").splitlines()
    browser = Path(browsers) / "google-chrome"
    assert browser.stat().st_mode & 0o111
    assert browser.read_text().endswith('MacOS/Google Chrome" "$@"\n')
    assert postgresql == "/opt/postgresql@17/bin"


def test_wsl_tests_a_clone_on_its_own_disk(project: Project, runner: Runner, tmp_path: Path) -> None:
    runner.fake("make", "git rev-parse HEAD")

    runner.run(step("check.yml", "Clone into WSL"))
    output = runner.run(step("check.yml", "make check test"))

    assert runner.calls("make") == ["check test"]
    assert output == project.git("rev-parse", "HEAD")
    assert (tmp_path / "home" / "ontime" / "Makefile").exists()


def test_the_summary_shows_how_the_merge_changes_the_metrics(project: Project, runner: Runner) -> None:
    metrics = project.json("reports/metrics.json")
    metrics["candidates"]["lightgbm"]["test"]["log_loss"] += 0.1
    project.git(
        "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--allow-empty", "-m", "x"
    )
    (project.folder / "reports/metrics.json").write_text(json.dumps(metrics))
    (project.folder / "var").mkdir()

    runner.run(step("metrics.yml", "make metrics"))

    assert "- lightgbm: log-loss 0.4735 → 0.5735" in runner.text_of("GITHUB_STEP_SUMMARY")
    assert (project.folder / "var/metrics.md").read_text() == runner.text_of("GITHUB_STEP_SUMMARY")


def test_a_failed_comparison_fails_the_step(project: Project, runner: Runner) -> None:
    (project.folder / "var").mkdir()

    completed = runner.attempt(step("metrics.yml", "make metrics"))  # one commit: there is no HEAD^1

    assert completed.returncode != 0
    assert "HEAD^1 has no reports/metrics.json" in completed.stdout


def test_the_comment_goes_to_the_pull_request(bare: Runner) -> None:
    bare.fake("gh")

    bare.run(step("metrics.yml", "One comment, renewed by each push"), **GITHUB, NUMBER="7")

    assert bare.calls("gh") == ["pr comment 7 --edit-last --create-if-none --body-file metrics.md"]


@pytest.mark.parametrize(("tag", "passes"), [("v0.1.0", True), ("v0.1", False), ("v0x1.0", False), ("v1.0.0", False)])
def test_a_tag_must_be_the_version(runner: Runner, tag: str, passes: bool) -> None:
    completed = runner.attempt(step("release.yml", "The tag is the version of pyproject.toml"), GITHUB_REF_NAME=tag)

    assert (completed.returncode == 0) is passes


def test_images_are_pushed_and_output_by_digest(bare: Runner, tmp_path: Path) -> None:
    bare.fake("docker", LIST_OF_DIGESTS)

    bare.run(step("release.yml", "Push"), **PUSH)

    names = [f"ghcr.io/some-owner/ontime-{image}" for image in ("serve", "mirror", "worker")]
    assert [call for call in bare.calls("docker") if "push" in call] == [
        f"push --quiet {name}:v1.2.3" for name in names
    ]
    assert (tmp_path / "work/images.txt").read_text().splitlines() == [f"{name}@{DIGEST}" for name in names]
    images = json.loads(bare.text_of("GITHUB_OUTPUT").removeprefix("images="))
    assert images == [{"image": name.rpartition("-")[2], "name": name, "digest": DIGEST} for name in names]


def test_the_registrys_token_is_not_an_argument(bare: Runner) -> None:
    """Every process can read the arguments of all others."""
    bare.fake("docker", LIST_OF_DIGESTS)

    bare.run(step("release.yml", "Push"), **PUSH)

    assert WORD not in "".join(bare.calls("docker"))
    assert WORD in bare.stdin("docker")


@pytest.mark.parametrize("docker", ["true", '[ "$1" != push ]'], ids=["no digest", "push refused"])
def test_a_failed_push_ends_the_release(bare: Runner, docker: str) -> None:
    bare.fake("docker", docker)

    assert bare.attempt(step("release.yml", "Push"), **PUSH).returncode != 0


def test_a_release_lists_its_digests_and_how_to_verify_them(bare: Runner, tmp_path: Path) -> None:
    work = tmp_path / "work"
    (work / "images.txt").write_text(f"ghcr.io/o/ontime-serve@{DIGEST}\n")
    (work / "serve.cdx.json").write_text("{}")
    bare.fake("gh")

    bare.run(step("release.yml", "Release"), **GITHUB, GITHUB_REF_NAME="v1.2.3")

    notes = (work / "notes.md").read_text()
    assert "gh attestation verify oci://IMAGE --repo o/r" in notes
    assert f"\n    ghcr.io/o/ontime-serve@{DIGEST}\n" in notes
    (call,) = bare.calls("gh")
    assert call.startswith("release create v1.2.3 --verify-tag")
    assert call.endswith("images.txt ./serve.cdx.json")


@pytest.mark.parametrize(("added", "change"), [("numpy==99.0 \\\n", "+numpy==99.0"), ("", "nothing")])
def test_the_summary_lists_what_has_changed(project: Project, runner: Runner, added: str, change: str) -> None:
    lock = project.folder / "requirements/serve.txt"
    lock.write_text(lock.read_text() + added)

    runner.run(step("weekly.yml", "What has moved"))

    assert change in runner.text_of("GITHUB_STEP_SUMMARY")


def test_another_problem_is_adopted_and_committed_before_its_month(project: Project, runner: Runner) -> None:
    runner.run(step("weekly.yml", "Adopt bikes"))

    assert 'name="bikes"' in (project.folder / "src/ontime/problem/__init__.py").read_text()
    assert project.git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("result", "issue", "does"),
    [
        ("failure", "", "issue create"),
        ("failure", "12", "issue comment 12"),
        ("success", "12", "issue close 12"),
        ("success", "", None),
    ],
)
def test_there_is_one_issue_while_the_weekly_run_fails(bare: Runner, result: str, issue: str, does: str | None) -> None:
    bare.fake("gh", f'[ "$2" != list ] || echo "{issue}"')

    bare.run(step("weekly.yml", "One issue"), **GITHUB, RESULT=result, RUN="address")

    look_up, *changes = bare.calls("gh")
    assert look_up.startswith("issue list --state open")
    assert [each.startswith(does or "") for each in changes] == ([True] if does else [])
