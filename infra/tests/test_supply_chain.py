"""The packages in the images are locked, listed, audited and licensed; the git history has no secret."""

import json
import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import metadata
from pathlib import Path
from typing import get_args

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement

from infra.tests import pypi
from infra.tests.history import secrets
from infra.tests.tools import ROOT, tool
from ontime.settings import Settings
from serving import keys
from tests.project import VENV, Project

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
IMAGES = ("serve", "mirror", "worker")
ENGINES = tuple(name for name in get_args(Settings.model_fields["engine"].annotation) if name != "local")
PERMISSIVE = re.compile(
    r"^(MIT|MIT-0|MIT License|0BSD|BSD(-[23]-Clause)?|3-Clause BSD License|Apache[ -]2\.0|PSF-2\.0|Zlib|CC0-1\.0)$"
)
# Licences with more obligations than a notice, and why a service that uses the package unmodified meets them.
MORE_THAN_PERMISSIVE = {
    "orjson": "MPL-2.0: a change of its own files would have to be published, and nobody changes them",
    "psycopg": "LGPL-3.0: used as a library that anybody can exchange; what imports it stays under its own licence",
    "psycopg-binary": "LGPL-3.0: the same in C, with libpq (PostgreSQL's licence)",
}


def requirements(text: str) -> dict[str, str]:
    """Each requirement of a lock, `name==version` with its hashes; a name may occur once per Python version."""
    whole = text.replace("\\\n", " ")
    return {line.split("--hash")[0].strip(): line for line in whole.splitlines() if line and not line.startswith("#")}


def without_hash(text: str) -> list[str]:
    return [name for name, line in requirements(text).items() if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", line)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "project").mkdir()
    return Project(tmp_path / "project")


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_everything_in_a_lock_has_a_version_and_a_hash(lock: Path) -> None:
    assert requirements(lock.read_text(encoding="utf-8"))
    assert all("==" in name for name in requirements(lock.read_text(encoding="utf-8")))
    assert without_hash(lock.read_text(encoding="utf-8")) == []


def test_a_line_without_a_hash_is_detected_and_not_installed(tmp_path: Path) -> None:
    lock = tmp_path / "lock.txt"
    lock.write_text(
        re.sub(r"(?m)^h11==(\S+).*\n(    --hash.*\n)+", r"h11==\1\n", (ROOT / "requirements/serve.txt").read_text())
    )
    installer = [
        str(VENV / "bin/uv"),
        "pip",
        "sync",
        "--offline",
        "--dry-run",
        "--require-hashes",
        "--python",
        str(VENV),
    ]

    installed = subprocess.run([*installer, lock], capture_output=True, text=True)

    assert [name.split("==")[0] for name in without_hash(lock.read_text())] == ["h11"]
    assert installed.returncode != 0
    assert "h11" in installed.stderr


def test_third_party_images_have_an_exact_version_and_a_digest() -> None:
    listed = subprocess.run(["git", "ls-files", "infra/*.yaml"], cwd=ROOT, capture_output=True, text=True, check=True)
    texts = [(ROOT / name).read_text() for name in listed.stdout.split()]
    images = {image for text in texts for image in re.findall(r"^[\s-]*image: ([^\s#]+)", text, re.MULTILINE)}

    other = {image for image in images if not image.rpartition("/")[2].startswith("ontime-")}
    assert len(other) == 8
    assert {
        each for each in other if not re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?@sha256:[0-9a-f]{64}$", each)
    } == set()


def test_the_git_history_has_no_secret(tmp_path: Path) -> None:
    assert secrets(ROOT, tmp_path) == []


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    return folder


def commit(repository: Path, message: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *who, "add", "--all"], cwd=repository, check=True)
    subprocess.run(["git", *who, "commit", "--quiet", "--allow-empty", "-m", message], cwd=repository, check=True)


# Concatenated, so that this file does not contain a match.
PLANTED = [
    ("AWS Access Key", "key = " + "AKIA" + "QYLPMN5HFIQR7XYA"),
    ("private key", "-----BEGIN " + "PRIVATE KEY-----" + "\nMC4CAQAwBQYDK2VwBCIEIJ" + "\nx = 1" * 2000),
    ("GitHub Token", "ghp" + "_" + "aB3" * 12),
    ("Basic Auth Credentials", "postgresql://ontime:" + "hunter2hunter2" + "@db/ontime"),
    ("Secret Keyword", "password" + ' = "' + "correct horse battery" + '"'),
]


@pytest.mark.parametrize(("kind", "text"), PLANTED, ids=[kind for kind, _ in PLANTED])
def test_a_secret_that_was_removed_again_is_found(repository: Path, tmp_path: Path, kind: str, text: str) -> None:
    (repository / "settings.py").write_text(text + "\n")
    commit(repository, "oops")
    (repository / "settings.py").unlink()
    commit(repository, "nothing happened")
    (tmp_path / "lines").mkdir()

    assert f"settings.py: {kind}" in secrets(repository, tmp_path / "lines")


def test_an_api_key_is_found_even_in_a_commit_message(repository: Path, tmp_path: Path) -> None:
    commit(repository, f"works with {keys.add(tmp_path / 'keys.json', 'desk', ['predict'])}")
    (tmp_path / "lines").mkdir()

    assert secrets(repository, tmp_path / "lines") == ["messages.txt: API key of ours"]


def test_a_shallow_clone_is_refused(repository: Path, tmp_path: Path) -> None:
    commit(repository, "first")
    commit(repository, "second")
    subprocess.run(["git", "clone", "--quiet", "--depth=1", f"file://{repository}", tmp_path / "shallow"], check=True)

    with pytest.raises(AssertionError, match="is a shallow clone"):
        secrets(tmp_path / "shallow", tmp_path)


def licences(name: str) -> list[str]:
    """The licences that apply to an installed package; the first of several alternatives."""
    package = metadata(name).json
    expression = str(package.get("license_expression") or package.get("license", "")).strip()
    return [part.strip("() ").split(" OR ")[0] for part in expression.split(" AND ")]


def test_the_licences_of_the_services_packages_need_no_more_than_a_notice() -> None:
    locked = map(Requirement, requirements((ROOT / "requirements/serve.txt").read_text()))
    names = {each.name for each in locked if each.marker is None or each.marker.evaluate()}  # those of this Python

    more = {name for name in names if not all(PERMISSIVE.match(licence) for licence in licences(name))}

    assert more == set(MORE_THAN_PERMISSIVE)


def test_an_sbom_is_valid_and_lists_the_whole_lock(project: Project) -> None:
    project.make("sbom", "IMAGES=serve")  # the two others run the same code and take three times as long

    text = (project.folder / "var/sbom/serve.cdx.json").read_text()
    listed = {f"{each['name']}=={each['version']}" for each in json.loads(text)["components"]}
    locked = requirements((ROOT / "requirements/serve.txt").read_text())
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert listed == {name.partition(" ")[0] for name in locked}


def test_every_image_has_an_sbom_and_with_all_optional_packages_an_audit(project: Project) -> None:
    sbom, audited = (
        project.make("--dry-run", "--assume-old=var/infra-venv/.installed", target)
        for target in ("sbom", "audit-packages")
    )

    assert f"for image in {' '.join(IMAGES)}; do" in sbom
    assert f"for lock in {' '.join((*IMAGES, *ENGINES, 'candidates', 'docs'))}; do" in audited
    stages = re.findall(r"^FROM .* AS (\w+)-packages$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(IMAGES) == set(stages)


def audit(project: Project, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """`make audit-packages` of a lock with one package, h11."""
    (project.folder / "requirements/serve.txt").write_text(f"h11==0.16.0 --hash=sha256:{'0' * 64}\n")
    tools = Path(tool("pip-audit")).parents[1]
    only = ("IMAGES=serve", "ENGINES=", "EXTRAS=")
    return subprocess.run(
        project.command("audit-packages", *only, f"INFRA={tools}", f"--assume-old={tools}/.installed"),
        cwd=project.folder,
        env={**project.environment(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize(
    ("vulnerabilities", "passes", "message"),
    [
        ({"h11": []}, True, "No known vulnerabilities found"),
        ({"h11": ["PYSEC-0000-1"]}, False, "PYSEC-0000-1"),
        ({}, False, "h11: Dependency not found on PyPI and could not be audited"),
    ],
    ids=["nothing known", "a vulnerability", "not found"],
)
def test_an_audit_passes_only_packages_that_pypi_knows(
    project: Project, tmp_path: Path, vulnerabilities: dict[str, list[str]], passes: bool, message: str
) -> None:
    with pypi.knowing(vulnerabilities, tmp_path) as environment:
        completed = audit(project, environment)

    assert (completed.returncode == 0) is passes
    assert message in completed.stdout


def test_an_audit_without_network_fails(project: Project) -> None:
    completed = audit(
        project, {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1", "NO_PROXY": ""}
    )

    assert completed.returncode != 0
    assert "No known vulnerabilities" not in completed.stdout


def test_the_files_in_security_md_exist() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / "SECURITY.md").read_text())

    assert len(links) > 20
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_each_threat_has_a_test_of_its_guard() -> None:
    rows = re.findall(r"^\| (?!threat|---)(.*) \| (.*) \| (.*) \|$", (ROOT / "SECURITY.md").read_text(), re.MULTILINE)

    assert len(rows) == 13
    assert all(re.fullmatch(r"\[test_\w+\.py\]\(\S+\)(, \[test_\w+\.py\]\(\S+\))*", held_by) for _, _, held_by in rows)
