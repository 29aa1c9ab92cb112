"""The workflows pass their linters, which find planted faults, and follow this project's rules."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from infra.tests.tools import ROOT, tool
from infra.tests.workflows import FOLDER, JOBS, NAMES, STEPS, read
from tests.project import Project

USES = re.compile(r"uses: (?P<action>[\w./-]+)@(?P<ref>\S+)(?: # (?P<version>v\d+\.\d+\.\d+))?$", re.MULTILINE)
MAY_WRITE = {
    ("deploy.yml", "aws"): {"id-token"},
    ("docs.yml", "publish"): {"id-token", "pages"},
    ("metrics.yml", "comment"): {"pull-requests"},
    ("release.yml", "build"): {"packages"},
    ("release.yml", "push"): {"packages"},
    ("release.yml", "attest"): {"attestations", "id-token", "packages"},
    ("release.yml", "draft"): {"contents"},
    ("security.yml", "codeql"): {"security-events"},
    ("security.yml", "scorecard"): {"security-events"},
    ("weekly.yml", "propose"): {"contents", "pull-requests"},
    ("weekly.yml", "tell"): {"issues"},
}
# Jobs that check out code and may write, and why nothing of a branch runs in them with that permission.
WITH_CODE = {
    ("release.yml", "build"): "the code of a tag, which needs push permission",
    ("security.yml", "codeql"): "reads the code and runs none of it",
    ("security.yml", "scorecard"): "reads the code and runs none of it",
    ("weekly.yml", "propose"): "changes lock files and runs none of the code",
}
UNREVIEWED = {("docs.yml", "publish"): "github-pages"}  # GitHub's own environment: Pages deploys from no other
APPROVED = {
    ("deploy.yml", "aws"): "production",
    ("deploy.yml", "kubernetes"): "production",
    ("release.yml", "build"): "release",
}


class Fault(NamedTuple):
    file: str
    before: str  # a pattern
    after: str
    found_as: str  # a pattern in a linter's output


FAULTS = {
    "a context that does not exist": Fault(
        "check.yml", r"matrix\.python }}", "matrix.pyton }}", r'property "pyton" is not defined'
    ),
    "a job that waits for nobody": Fault("release.yml", "needs: attest", "needs: atest", r'needs job "atest"'),
    "a permission that does not exist": Fault("weekly.yml", "issues: write", "issue: write", r'scope "issue"'),
    "a time that never comes": Fault("weekly.yml", r"17 5 \* \* 1", "17 25 * * 1", "invalid CRON"),
    "a variable that falls apart": Fault(
        "release.yml", r'--quiet "\$name:\$version-\$ARCHITECTURE"', "--quiet $name:$version", "SC2086"
    ),
    "an action by its tag": Fault("metrics.yml", r"checkout@\w{40}", "checkout@v7", "unpinned-uses"),
    "a token left in the checkout": Fault("check.yml", "persist-credentials: false", "fetch-depth: 1", "artipacked"),
    "a trigger with the base's rights": Fault(
        "metrics.yml", "pull_request:", "pull_request_target:", "dangerous-triggers"
    ),
    "a title as a script": Fault(
        "metrics.yml", "run: make train", "run: echo ${{ github.event.pull_request.title }}", "template-injection"
    ),
    "permissions for everything": Fault(
        "weekly.yml", r"permissions: \{\}", "permissions: write-all", "excessive-permissions"
    ),
    "an action taken on its first day": Fault(
        "../dependabot.yml", r"default-days: \d+", "default-days: 0", "dependabot-cooldown"
    ),
}


def findings(folder: Path) -> str:
    """The findings of actionlint (with shellcheck) and zizmor in a .github folder."""
    workflows = sorted(map(str, (folder / "workflows").glob("*.yml")))
    output = ""
    for command in (
        [tool("actionlint"), "-oneline", "-shellcheck", tool("shellcheck"), *workflows],
        [tool("zizmor"), "--quiet", "--offline", "--pedantic", "--no-progress", "--format=plain", str(folder)],
    ):
        completed = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output += completed.stdout if completed.returncode else ""
    return output


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    # A separate repository, because zizmor and actionlint search for the root of one.
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    return Path(shutil.copytree(FOLDER.parent, tmp_path / ".github"))


def test_the_linters_find_nothing(copy: Path) -> None:
    assert findings(copy) == ""


@pytest.mark.parametrize("fault", FAULTS)
def test_the_linters_find(copy: Path, fault: str) -> None:
    planted = FAULTS[fault]
    spoilt = copy / "workflows" / planted.file
    text, times = re.subn(planted.before, lambda _: planted.after, spoilt.read_text())
    assert times

    spoilt.write_text(text)

    assert re.search(planted.found_as, findings(copy))


@pytest.mark.parametrize("name", NAMES)
def test_an_action_is_pinned_by_commit_with_its_version_in_a_comment(name: str) -> None:
    text = (FOLDER / name).read_text()

    used = list(USES.finditer(text))

    assert len(used) == text.count("uses: ") - text.count("uses: $/")
    assert all(re.fullmatch("[0-9a-f]{40}", use["ref"]) and use["version"] for use in used)


def test_an_action_has_one_version_everywhere() -> None:
    used = {
        use.group("action", "ref", "version") for name in NAMES for use in USES.finditer((FOLDER / name).read_text())
    }

    assert len(used) == len({action for action, _, _ in used})


@pytest.mark.parametrize("name", NAMES)
def test_a_workflow_has_no_permissions_and_its_jobs_declare_theirs(name: str) -> None:
    workflow = read(name)

    assert workflow["permissions"] == {}
    assert all("permissions" in job for job in workflow["jobs"].values())


def test_few_jobs_have_write_permissions() -> None:
    may = {
        place: {what for what, right in job["permissions"].items() if right == "write"} for place, job in JOBS.items()
    }

    assert {place: what for place, what in may.items() if what} == MAY_WRITE


def test_code_of_a_branch_never_runs_with_write_permissions() -> None:
    with_code = {
        place for place, job in JOBS.items() for step in job.get("steps", ()) if "checkout@" in step.get("uses", "")
    }

    assert with_code & set(MAY_WRITE) == set(WITH_CODE)
    runs_nothing = [place for place, why in WITH_CODE.items() if why.startswith("reads")]
    assert [each for each in STEPS if (each.workflow, each.job) in runs_nothing] == []
    (propose,) = [each for each in STEPS if (each.workflow, each.job) == ("weekly.yml", "propose")]
    assert not re.search(r"^\s*(make|python|bash|sh) ", propose.script, re.MULTILINE)


def test_a_person_approves_a_release_and_a_deployment() -> None:
    environments = {place: job["environment"] for place, job in JOBS.items() if "environment" in job}

    assert environments == APPROVED | UNREVIEWED


def test_a_deployment_follows_only_verified_images() -> None:
    jobs = read("deploy.yml")["jobs"]

    assert {name: job.get("needs") for name, job in jobs.items()} == {
        "verify": None, "kubernetes": "verify", "aws": "verify",
    }  # fmt: skip


def test_a_pull_request_of_documents_skips_what_reads_only_code() -> None:
    jobs = read("check.yml")["jobs"]

    skipped = {name for name, job in jobs.items() if job.get("if") == "needs.changes.outputs.code == 'true'"}
    assert skipped == {"windows", "infra", "kind"}
    assert all(job["needs"] == "changes" for name, job in jobs.items() if name != "changes")


@pytest.mark.parametrize("place", [place for place, job in JOBS.items() if "steps" in job], ids="/".join)
def test_a_job_has_a_timeout(place: tuple[str, str]) -> None:
    assert 0 < JOBS[place]["timeout-minutes"] <= 120


@pytest.mark.parametrize("name", NAMES)
def test_runs_of_a_workflow_are_serialised(name: str) -> None:
    assert set(read(name)["concurrency"]) == {"group", "cancel-in-progress"}


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_no_expression_is_interpolated_into_a_script(step: Any) -> None:
    assert "${{" not in step.script


def test_each_make_target_exists(tmp_path: Path) -> None:
    """By a dry run of make, which prints the commands and runs none."""
    (tmp_path / "copy").mkdir()
    project = Project(tmp_path / "copy")
    lines = [line.strip().removeprefix("if ") for step in STEPS for line in step.script.splitlines()]
    commands = {line.partition(";")[0] for line in lines if line.startswith("make ")}

    for command in sorted(commands):
        words = [
            word.replace('"$CLUSTER_CONTEXT"', "c")
            for word in command.partition(" #")[0].partition(" |")[0].split()[1:]
        ]
        planned = project.attempt(
            "--dry-run", "--assume-old=var/infra-venv/.installed", "--assume-old=var/docs-venv/.installed", *words
        )
        assert planned.returncode == 0, f"{command}: {planned.stdout}"
    assert {"make check", "make test", "make image ENGINE=dask", "make sbom", "make audit-packages"} <= commands
    assert {"make train", "make image", "make rehearsal CONTEXT=kind-kind"} <= commands


def test_the_oldest_python_that_is_tested_is_the_oldest_that_is_promised() -> None:
    promised = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text())

    assert promised
    assert JOBS["check.yml", "test"]["strategy"]["matrix"]["python"][0] == promised[1]


def test_dependabot_updates_what_no_lock_file_pins() -> None:
    updates = yaml.safe_load((FOLDER.parent / "dependabot.yml").read_text())["updates"]

    assert {each["package-ecosystem"] for each in updates} == {"github-actions", "docker-compose", "terraform"}
