"""The project's name is replaced as a whole word; an ambiguous new name is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.operations import git
from pipelines.tools import rename

pytestmark = pytest.mark.slow

FILES = {
    "pyproject.toml": '[project]\nname = "oldname"\n\n[tool.ruff]\nline-length = 60\n',
    "LICENSE": "Copyright The oldname authors\n",
    "src/oldname/__init__.py": "",
    "src/oldname/prices.py": '"""What is bought by the customers of oldname, and when."""\n\nLATEST = 1\n',
    "report.py": "import numpy\n\nfrom mypackage import a\nfrom oldname import prices\n\nprint(numpy, a, prices)\n",
    "mypackage.py": "a = 1\n",
    "dashboards/oldname.yaml": "expr: oldname_sales_total\r\n",
    ".gitignore": "__pycache__/\n/var/\n/releases/\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with the name in code, paths and licence; also the working directory."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
    (tmp_path / "picture.png").write_bytes(b"\x89PNG oldname")
    monkeypatch.chdir(tmp_path)
    commit("init", "--quiet")
    return tmp_path


def commit(*first: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    for words in (first, ("add", "--all"), (*identity, "commit", "--quiet", "--message", "all")):
        if words:
            subprocess.run(["git", *words], check=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from oldname.prices import a", "from newname.prices import a"),
        ("OLDNAME_PORT and Oldname", "NEWNAME_PORT and Newname"),
        ("oldname-serve, oldname_total, oldname2", "newname-serve, newname_total, newname2"),
        (r"re.findall(r'\boldname_\w+')", r"re.findall(r'\bnewname_\w+')"),
        ("--username=oldname", "--username=newname"),
        ("oldnames, goldname, OLDNAMEs", "oldnames, goldname, OLDNAMEs"),
        ("old name, old-name, OldThing", "old name, old-name, OldThing"),
        ("make rename NAME=oldname", "make rename NAME=oldname"),
    ],
)
def test_the_name_is_replaced_as_a_word_and_in_its_case(text: str, expected: str) -> None:
    assert rename.renamed(text, "oldname", "newname") == expected


def test_folders_and_files_move_with_what_git_ignores_in_them(project: Path) -> None:
    compiled = project / "src/oldname/__pycache__"
    compiled.mkdir()
    (compiled / "prices.pyc").touch()

    rename.rename("newname")

    assert (project / "src/newname/__pycache__/prices.pyc").is_file()
    assert not (project / "src/oldname").exists()
    assert (project / "dashboards/newname.yaml").read_bytes() == b"expr: newname_sales_total\r\n"


def test_licence_and_pictures_stay_as_they_are(project: Path) -> None:
    rename.rename("newname")

    assert (project / "LICENSE").read_text() == FILES["LICENSE"]
    assert (project / "picture.png").read_bytes() == b"\x89PNG oldname"


def test_imports_are_sorted_by_the_new_name(project: Path) -> None:
    rename.rename("aname")

    assert (project / "report.py").read_text().splitlines()[:4] == [
        "import numpy",
        "",
        "from aname import prices",
        "from mypackage import a",
    ]


def test_the_linter_accepts_the_lines_that_a_longer_name_makes_too_long(project: Path) -> None:
    rename.rename("averylongnewname")

    assert "of averylongnewname, and when" in (project / "src/averylongnewname/prices.py").read_text()
    assert (
        subprocess.run([sys.executable, "-m", "ruff", "check", "--select=E501,I"], capture_output=True).returncode == 0
    )


def test_a_second_renaming_takes_the_first_one_back(project: Path) -> None:
    rename.rename("newname")
    commit()
    rename.rename("oldname")

    assert {name: (project / name).read_bytes().decode() for name in FILES} == FILES


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("oldname", "NAME=oldname is the name already"),
        ("New", "NAME=New is not 3 to 16 lower-case letters and digits"),
        ("new_name", "NAME=new_name is not 3 to 16 lower-case letters and digits"),
        ("2fast", "NAME=2fast is not 3 to 16 lower-case letters and digits"),
        ("anamethatistoolong", "NAME=anamethatistoolong is not 3 to 16 lower-case letters and digits"),
        ("lambda", "NAME=lambda is a keyword or a standard module of Python"),
        ("statistics", "NAME=statistics is a keyword or a standard module of Python"),
        ("pandas", "NAME=pandas would hide the package in "),
        ("latest", "NAME=latest already occurs in src/oldname/prices.py, with another meaning"),
        ("dashboards", "NAME=dashboards already occurs in dashboards/oldname.yaml, with another meaning"),
        ("mypackage", "NAME=mypackage already occurs in mypackage.py and 1 more,"),
    ],
)
@pytest.mark.usefixtures("project")
def test_a_name_that_would_not_work_is_refused_and_nothing_changes(name: str, reason: str) -> None:
    with pytest.raises(rename.NotRenamed) as refused:
        rename.rename(name)

    assert str(refused.value).startswith(reason)
    assert not git.query("status", "--porcelain")


def test_uncommitted_work_is_refused(project: Path) -> None:
    (project / "report.py").write_text("print(1)\n")

    with pytest.raises(git.GitRefused, match="commit or stash your changes first: 1 file"):
        rename.rename("newname")


@pytest.mark.parametrize("made", ["releases", "var/mlflow.db", "var/oldname.db"])
@pytest.mark.slow
def test_what_was_made_under_the_old_name_is_not_lost_from_sight(made: str, project: Path) -> None:
    (project / made).mkdir(parents=True)

    with pytest.raises(rename.NotRenamed, match=f"{made} have the name oldname"):
        rename.rename("newname")
