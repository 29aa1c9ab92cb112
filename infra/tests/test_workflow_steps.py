"""Runs the scripts of the workflows, with this project's make where it is fast, and with fakes of other commands."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from infra.tests.workflows import STEPS, Runner, step
from tests.project import Project

DIGEST = f"sha256:{'5' * 64}"
LIST_OF_DIGESTS = f'[[ "$*" == *inspect* ]] && echo "${{@: -1}}" | sed "s/:1.2.3.*/@{DIGEST}/"; true'
MANIFEST = f"""[[ "$*" != *inspect* ]] || echo '{{"digest": "{DIGEST}"}}'"""
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
    "check.yml: A cluster with the images",
    "check.yml: Code or documents",
    "check.yml: Prometheus and Alertmanager",
    "check.yml: What the cluster says",
    "check.yml: make deploy, and a version that cannot start",
    "check.yml: make image ENGINE=dask",
    "check.yml: Clone into WSL",
    "check.yml: make check test",
    "deploy.yml: Copy",
    "deploy.yml: The images of the release",
    "deploy.yml: make deploy",
    "metrics.yml: make metrics",
    "metrics.yml: One comment, renewed by each push",
    "release.yml: The tag is the version of pyproject.toml",
    "release.yml: Join",
    "release.yml: Log in",
    "release.yml: Push",
    "release.yml: Release",
    "release.yml: Sign",
    "weekly.yml: PostgreSQL and a browser",
    "weekly.yml: What has moved",
    "weekly.yml: Adopt bikes",
    "weekly.yml: One issue",
    "weekly.yml: One pull request",
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
    daemons = ["prometheus", "prometheus-alertmanager", "prometheus-node-exporter"]
    assert set(daemons) <= set(install.split())
    assert stop == f"systemctl stop {' '.join(daemons)}"


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
    scores = metrics["candidates"]["lightgbm"]["test"]
    before, after = scores["log_loss"], round(scores["log_loss"] + 0.1, 4)
    scores["log_loss"] = after
    project.git(
        "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--allow-empty", "-m", "x"
    )
    (project.folder / "reports/metrics.json").write_text(json.dumps(metrics))
    (project.folder / "var").mkdir()

    runner.run(step("metrics.yml", "make metrics"))

    assert f"- lightgbm: log-loss {before} → {after}" in runner.text_of("GITHUB_STEP_SUMMARY")
    assert (project.folder / "var/metrics.md").read_text() == runner.text_of("GITHUB_STEP_SUMMARY")


def test_a_failed_comparison_fails_the_step(project: Project, runner: Runner) -> None:
    (project.folder / "var").mkdir()

    completed = runner.attempt(step("metrics.yml", "make metrics"))  # one commit: there is no HEAD^1

    assert completed.returncode != 0
    assert "HEAD^1 has no reports/metrics.json" in completed.stdout


@pytest.mark.parametrize(
    ("comments", "call"),
    [
        ([], "pr comment 7 --body-file comment.md"),
        ([("someone", "<!-- make metrics -->")], "pr comment 7 --body-file comment.md"),
        ([("github-actions[bot]", "another workflow's")], "pr comment 7 --body-file comment.md"),
        (
            [("github-actions[bot]", "another workflow's"), ("github-actions[bot]", "<!-- make metrics -->\nold")],
            "api --method PATCH repos/o/r/issues/comments/2 --field body=@comment.md",
        ),
    ],
    ids=["none yet", "somebody else's", "another workflow's", "ours"],
)
def test_the_comment_is_renewed_by_its_marker(
    bare: Runner, tmp_path: Path, comments: list[tuple[str, str]], call: str
) -> None:
    (tmp_path / "work/metrics.md").write_text("new\n")
    listed = [{"id": number, "user": {"login": who}, "body": text} for number, (who, text) in enumerate(comments, 1)]
    (tmp_path / "comments.json").write_text(json.dumps(listed))
    bare.fake("gh", f'[[ "$*" != *--jq* ]] || jq --raw-output "${{@: -1}}" {tmp_path}/comments.json')

    bare.run(step("metrics.yml", "One comment, renewed by each push"), **GITHUB, NUMBER="7")

    assert bare.calls("gh")[-1] == call
    assert (tmp_path / "work/comment.md").read_text() == "<!-- make metrics -->\nnew\n"


@pytest.mark.parametrize(("tag", "passes"), [("v0.1.0", True), ("v0.1", False), ("v0x1.0", False), ("v1.0.0", False)])
def test_a_tag_must_be_the_version(runner: Runner, tag: str, passes: bool) -> None:
    completed = runner.attempt(step("release.yml", "The tag is the version of pyproject.toml"), GITHUB_REF_NAME=tag)

    assert (completed.returncode == 0) is passes


NAMES = [f"ghcr.io/some-owner/ontime-{image}" for image in ("serve", "mirror", "worker")]


def test_each_architecture_is_pushed_and_noted_by_digest(bare: Runner, tmp_path: Path) -> None:
    bare.fake("docker", LIST_OF_DIGESTS)

    bare.run(step("release.yml", "Push"), **PUSH, ARCHITECTURE="arm64")

    assert [call for call in bare.calls("docker") if call.startswith("push")] == [
        f"push --quiet {name}:1.2.3-arm64" for name in NAMES
    ]
    assert (tmp_path / "work/arm64.txt").read_text().splitlines() == [f"{name}@{DIGEST}" for name in NAMES]


def joined(runner: Runner, folder: Path, docker: str) -> subprocess.CompletedProcess[str]:
    for number, architecture in enumerate(("amd64", "arm64")):
        (folder / f"{architecture}.txt").write_text("".join(f"{name}@sha256:{number}\n" for name in NAMES))
    runner.fake("docker", docker)
    github = {"GITHUB_SHA": "c0ffee", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_REPOSITORY": "o/r"}
    return runner.attempt(step("release.yml", "Join"), **PUSH, **github)


def test_both_architectures_get_the_version_and_the_commit_as_tags(bare: Runner, tmp_path: Path) -> None:
    completed = joined(bare, tmp_path / "work", MANIFEST)

    assert completed.returncode == 0, completed.stdout
    creations = [call for call in bare.calls("docker") if " create " in call]
    assert all("source=https://github.com/o/r " in call and "revision=c0ffee " in call for call in creations)
    assert [call.partition("--tag ")[2] for call in creations] == [
        f"{name}:1.2.3 --tag {name}:c0ffee {name}@sha256:0 {name}@sha256:1" for name in NAMES
    ]
    assert (tmp_path / "work/images.txt").read_text().splitlines() == [f"{name}@{DIGEST}" for name in NAMES]
    images = json.loads(bare.text_of("GITHUB_OUTPUT").removeprefix("images="))
    assert images == [{"image": name.rpartition("-")[2], "name": name, "digest": DIGEST} for name in NAMES]


@pytest.mark.parametrize("docker", ["true", '[ "$2" != imagetools ]'], ids=["no digest", "refused"])
def test_a_name_without_a_digest_ends_the_release(bare: Runner, tmp_path: Path, docker: str) -> None:
    assert joined(bare, tmp_path / "work", docker).returncode != 0


@pytest.mark.parametrize(
    ("name", "env"),
    [("Push", {**PUSH, "ARCHITECTURE": "amd64"}), ("Log in", {"TOKEN": WORD, "GITHUB_ACTOR": "a"})],
)
def test_the_registrys_token_is_not_an_argument(bare: Runner, name: str, env: dict[str, str]) -> None:
    """Every process can read the arguments of all others."""
    bare.fake("docker", LIST_OF_DIGESTS)

    bare.run(step("release.yml", name), **env)

    assert WORD not in "".join(bare.calls("docker"))
    assert WORD in bare.stdin("docker")


@pytest.mark.parametrize("docker", ["true", '[ "$1" != push ]'], ids=["no digest", "push refused"])
def test_a_failed_push_ends_the_release(bare: Runner, docker: str) -> None:
    bare.fake("docker", docker)

    assert bare.attempt(step("release.yml", "Push"), **PUSH, ARCHITECTURE="amd64").returncode != 0


def test_the_digest_is_signed(bare: Runner) -> None:
    bare.fake("cosign")

    bare.run(step("release.yml", "Sign"), IMAGE=f"{NAMES[0]}@{DIGEST}")

    assert bare.calls("cosign") == [f"sign --yes {NAMES[0]}@{DIGEST}"]


VERIFY = {**GITHUB, "GITHUB_ACTOR": "a", "RELEASE": "v1.2.3"}
# The last line has no end, as in a file that was edited by hand: it counts too.
DOWNLOAD = (
    f"""[[ "$*" != *download* ]] || printf '%s' '{chr(10).join(f"{name}@{DIGEST}" for name in NAMES)}' > images.txt"""
)


def test_a_deployment_verifies_who_built_each_image(bare: Runner) -> None:
    bare.fake("docker")
    bare.fake("gh", DOWNLOAD)

    bare.run(step("deploy.yml", "The images of the release"), **VERIFY)

    download, *verified = bare.calls("gh")
    assert download == "release download v1.2.3 --pattern images.txt"
    assert verified == [
        f"attestation verify oci://{name}@{DIGEST} --repo o/r --signer-workflow o/r/.github/workflows/release.yml"
        for name in NAMES
    ]


def test_an_image_that_another_workflow_built_ends_the_deployment(bare: Runner) -> None:
    bare.fake("docker")
    bare.fake("gh", f'{DOWNLOAD}\n[[ "$*" != *verify* ]]')

    assert bare.attempt(step("deploy.yml", "The images of the release"), **VERIFY).returncode != 0


def test_the_cluster_gets_the_releases_images(bare: Runner) -> None:
    bare.fake("make", 'cat "$KUBECONFIG"; stat -c %a "$KUBECONFIG"; echo "$SMOKE_KEY"')

    output = bare.run(step("deploy.yml", "make deploy"), CLUSTER="a: 1", CLUSTER_CONTEXT="there", SMOKE_KEY="k")

    assert bare.calls("make") == ["deploy CONTEXT=there FROM=images.txt"]
    assert output == "a: 1600\nk\n"


@pytest.mark.parametrize("there", [False, True])
def test_ecr_gets_the_same_digests_once(bare: Runner, tmp_path: Path, there: bool) -> None:
    (tmp_path / "work/images.txt").write_text(f"{NAMES[0]}@{DIGEST}\n")
    bare.fake("skopeo", f'[ "$1" != inspect ] || {"true" if there else "false"}')
    bare.fake("aws", '[ -s "$AWS_WEB_IDENTITY_TOKEN_FILE" ] && echo password')
    bare.fake("curl", """echo '{"value": "token"}'""")
    tokens = {"ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t", "ACTIONS_ID_TOKEN_REQUEST_URL": "https://example.org/?a=b"}

    bare.run(
        step("deploy.yml", "Copy"), GH_TOKEN=WORD, AWS_ROLE_ARN="arn", AWS_REGION="r", REGISTRY="ecr.example",
        RELEASE="v1.2.3", GITHUB_ACTOR="a", **tokens,
    )  # fmt: skip

    copied = [call for call in bare.calls("skopeo") if call.startswith("copy")]
    expected = f"copy --all --preserve-digests docker://{NAMES[0]}@{DIGEST} docker://ecr.example/ontime-serve:1.2.3"
    assert copied == ([] if there else [expected])
    assert "https://example.org/?a=b&audience=sts.amazonaws.com" in bare.calls("curl")[0]
    assert WORD not in "".join(bare.calls("skopeo"))


@pytest.mark.parametrize(
    ("event", "changed", "code"),
    [
        ("pull_request", ["README.md", "docs/screenshots/x.png"], "false"),
        ("pull_request", ["README.md", "serving/app.py"], "true"),
        # More than git writes at once: a reader that ends early would be an error of git.
        ("pull_request", [f"serving/{name}.py" for name in range(9000)], "true"),
        ("push", ["README.md"], "true"),
    ],
)
def test_documents_alone_are_not_code(bare: Runner, event: str, changed: list[str], code: str) -> None:
    bare.fake("git", f"printf '%s\\n' {' '.join(changed)}")

    bare.run(step("check.yml", "Code or documents"), EVENT=event)

    lines = dict(line.split("=", 1) for line in bare.text_of("GITHUB_OUTPUT").splitlines())
    assert lines["code"] == code
    assert ("macos-15" in json.loads(lines["systems"])) is (code == "true")


def test_ci_keeps_layers_between_its_builds(project: Project, runner: Runner) -> None:
    runner.fake("docker")
    runner.fake("make", f'PATH="${{PATH#*:}}" exec {" ".join(project.command("--dry-run"))} "$@"')

    planned = runner.run(step("check.yml", "make image ENGINE=dask"), LAYERS="var/cache/layers")

    assert runner.calls("docker") == ["buildx create --use"]
    assert "docker buildx build --load --quiet" in planned
    assert "--cache-to type=local,mode=max,dest=var/cache/layers/worker-dask" in planned


def test_the_cluster_has_the_images_that_the_overlay_names(project: Project, runner: Runner) -> None:
    runner.fake("kind")

    runner.run(step("check.yml", "A cluster with the images"))

    create, load = runner.calls("kind")
    assert create.startswith("create cluster")
    assert load == "load docker-image ontime-serve:0.1.0 ontime-mirror:0.1.0 ontime-worker:0.1.0"
    assert (
        f"newTag: {load.rpartition(':')[2]}"
        in (project.folder / "infra/kubernetes/overlays/small/kustomization.yaml").read_text()
    )


@pytest.mark.parametrize("refused", [True, False])
def test_the_cluster_job_deploys_and_expects_a_broken_version_to_be_refused(
    bare: Runner, tmp_path: Path, refused: bool
) -> None:
    (tmp_path / "work/var").mkdir()
    (tmp_path / "work/var/keys.json").write_text("{}")
    bare.fake("make", f'[ "$1" != key ] || echo k; [[ "$*" != *broken.txt ]] || {"false" if refused else "true"}')
    bare.fake("kubectl", '[[ "$*" != *jsonpath* ]] || echo ontime-serve:next')
    bare.fake("docker")
    bare.fake("kind")

    completed = bare.attempt(step("check.yml", "make deploy, and a version that cannot start"))

    assert (completed.returncode == 0) is refused
    assert "ontime-serve:no-such-version" in (tmp_path / "work/broken.txt").read_text()
    assert bare.calls("make")[1:] == [
        f"deploy CONTEXT=kind-kind OVERLAY=small FROM={name}.txt" for name in ("images", "broken")
    ]


def test_a_failed_cluster_job_shows_objects_events_and_logs(bare: Runner) -> None:
    bare.fake("kubectl")

    bare.run(step("check.yml", "What the cluster says"))

    assert [call.split()[1] for call in bare.calls("kubectl")] == ["all", "events", "-n"]


@pytest.mark.parametrize(
    ("patch", "number", "call"),
    [(True, "", "pr create"), (True, "4", "pr edit 4"), (False, "", None)],
    ids=["new", "open", "nothing has moved"],
)
def test_the_weekly_packages_are_one_pull_request(
    project: Project, runner: Runner, patch: bool, number: str, call: str | None
) -> None:
    lock = project.folder / "requirements/serve.txt"
    before = lock.read_bytes()
    lock.write_bytes(before.replace(b"h11==", b"h11==9"))
    moved = project.git("diff", "--", "requirements") if patch else ""
    lock.write_bytes(before)
    project.git("add", "requirements")
    (project.folder / "moved").mkdir()
    (project.folder / "moved/moved.patch").write_text(moved)
    (project.folder / "moved/moved.md").write_text("+h11\n")
    runner.fake("gh", f'[ "$2" != list ] || echo "{number}"')
    runner.fake("git", f'[[ "$*" == *push* ]] || exec {shutil.which("git")} "$@"')

    runner.run(step("weekly.yml", "One pull request"), **GITHUB, RUN="address")

    calls = [each for each in runner.calls("gh") if not each.startswith("pr list")]
    assert [each.startswith(call or "") for each in calls] == ([True] if call else [])
    assert ("h11==9" in project.git("show", "HEAD:requirements/serve.txt")) is patch


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
    assert call.startswith("release create v1.2.3 --draft --verify-tag")
    assert call.endswith("images.txt ./serve.cdx.json")


@pytest.mark.parametrize(("added", "change"), [("numpy==99.0 \\\n", "+numpy==99.0"), ("", "nothing")])
def test_the_summary_lists_what_has_changed(project: Project, runner: Runner, added: str, change: str) -> None:
    lock = project.folder / "requirements/serve.txt"
    lock.write_text(lock.read_text() + added)

    runner.run(step("weekly.yml", "What has moved"))

    assert change in runner.text_of("GITHUB_STEP_SUMMARY")
    assert (project.folder / "moved.md").read_text() == runner.text_of("GITHUB_STEP_SUMMARY")
    assert bool((project.folder / "moved.patch").read_text()) is (added != "")


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
