"""An image has the commit and the version that it was built from, and `make stack` names those of another commit."""

from pathlib import Path

import pytest

from infra import images
from tests.project import Project


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    project.git("remote", "add", "origin", "https://user:token@github.com/owner/name.git")
    monkeypatch.chdir(project.folder)
    return project


def test_the_labels_are_those_of_the_commit(project: Project) -> None:
    labels = images.labels()

    assert labels == {
        "org.opencontainers.image.version": "0.1.0",
        "org.opencontainers.image.revision": project.git("rev-parse", "HEAD").strip(),
        "org.opencontainers.image.source": "https://github.com/owner/name",
        "org.opencontainers.image.created": project.git("log", "-1", "--format=%cI").strip(),
    }


def test_an_uncommitted_change_is_part_of_the_revision(project: Project) -> None:
    (project.folder / "README.md").write_text("changed")

    assert images.revision() == f"{project.git('rev-parse', 'HEAD').strip()}-dirty"


def test_without_a_repository_an_image_still_has_its_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text('version = "1.2.3"\n')
    monkeypatch.chdir(tmp_path)

    assert images.options("ontime-serve") == [
        "-t", "ontime-serve:1.2.3", "--label", "org.opencontainers.image.version=1.2.3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("git@github.com:owner/name.git", "https://github.com/owner/name"),
        ("ssh://git@github.com/owner/name", "https://github.com/owner/name"),
        ("https://user:token@github.com/owner/name.git", "https://github.com/owner/name"),
        ("/srv/git/name.git", None),
        ("", None),
    ],
)
def test_the_source_is_an_address_without_credentials(remote: str, address: str | None) -> None:
    assert images.web_address(remote) == address


def test_an_image_of_another_commit_is_reported() -> None:
    built = {"ontime-serve": {images.REVISION: "a" * 40}, "ontime-mirror": {images.REVISION: f"{'b' * 40}-dirty"}}

    (sentence,) = images.outdated(built, "b" * 40)

    assert sentence == (
        "ontime-serve was built from aaaaaaaaaaaa, and the folder is at bbbbbbbbbbbb: run `make image` to rebuild it"
    )


def test_the_stack_asks_before_it_starts(project: Project) -> None:
    planned = project.make("--dry-run", "stack")

    assert planned.index("infra.images outdated ontime-serve ontime-mirror ontime-worker") < planned.index(
        "up --detach"
    )


def test_every_build_has_labels_and_the_version_as_its_tag(project: Project) -> None:
    planned = project.make("--dry-run", "image", "ENGINE=dask")

    assert planned.count("-m infra.images options ontime-") == planned.count("docker build ") == 2  # a loop, an engine
    assert planned.count(" $options ") == 2
