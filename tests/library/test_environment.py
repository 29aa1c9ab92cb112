"""Whatever the caller's environment says of MLflow, DVC, git, Prefect or pip, nothing of ours goes there."""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from ontime import environment
from tests import PARAMS_YAML, ROOT
from tests.modes import open_to_others

pytestmark = pytest.mark.slow

VENV = Path(sys.prefix)
FOREIGN = {
    "DVC_EXP_AUTO_PUSH": "true",
    "DVC_EXP_GIT_REMOTE": "{}/git",
    "DVC_GLOBAL_CONFIG_DIR": "{}/dvc",
    "DVC_ROOT": "{}/dvc",
    "DVC_SITE_CACHE_DIR": "{}/dvc-site",
    "DVC_STAGE": "theirs",
    "DVC_STUDIO_TOKEN": "theirs",
    "DVC_SYSTEM_CONFIG_DIR": "{}/dvc",
    "GIT_COMMON_DIR": "{}/git",
    "GIT_DIR": "{}/git",
    "GIT_INDEX_FILE": "{}/index",
    "GIT_OBJECT_DIRECTORY": "{}/objects",
    "GIT_WORK_TREE": "{}",
    "MATPLOTLIBRC": "{}/rc",
    "MLFLOW_EXPERIMENT_NAME": "theirs",
    "MLFLOW_REGISTRY_URI": "sqlite:///{}/registry.db",
    "MLFLOW_RUN_ID": "theirs",
    "MLFLOW_TRACKING_URI": "sqlite:///{}/tracking.db",
    "MPLBACKEND": "theirs",
    "MPLCONFIGDIR": "{}/matplotlib",
    "PANDERA_VALIDATION_ENABLED": "false",
    "PGHOSTADDR": "203.0.113.1",
    "PGSERVICE": "theirs",
    "PIP_PREFIX": "{}/pip",
    "PIP_TARGET": "{}/pip",
    "PREFECT_API_DATABASE_CONNECTION_URL": "sqlite+aiosqlite:///{}/prefect.db",
    "PREFECT_API_URL": "http://127.0.0.1:9/api",
    "PREFECT_HOME": "{}/prefect",
    "PREFECT_PROFILES_PATH": "{}/profiles.toml",
    "PROMETHEUS_MULTIPROC_DIR": "{}/metrics",
    "PYTHONOPTIMIZE": "2",
    "PYTHONPYCACHEPREFIX": "{}/bytecode",
    "PYTHONWARNINGS": "error",
    "SHELL": "/bin/false",
    "UV_CACHE_DIR": "{}/uv",
    "UV_PROJECT_ENVIRONMENT": "{}/venv",
    "UV_SYSTEM_PYTHON": "1",
    "WEB_CONCURRENCY": "theirs",
    "XDG_CACHE_HOME": "{}/cache",
}
ONLY_FOR_MAKE = {"PYTHONHOME": "{}", "PYTHONPATH": "{}", "PYTHONSAFEPATH": "1", "VERSION": "7", "VOLUMES": "1"}
KEPT = {
    "AWS_ACCESS_KEY_ID": "ours",
    "GIT_CONFIG_COUNT": "0",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "MLFLOW_S3_ENDPOINT_URL": "https://bucket.example",
    "MLFLOW_TRACKING_TOKEN": "ours",
    "OMP_NUM_THREADS": "1",
    "ONTIME_PORT": "8001",
    "PIP_INDEX_URL": "https://mirror.example/simple",
    "UV_INDEX_URL": "https://mirror.example/simple",
}
# One cheap thing that each tool writes somewhere.
WRITES = {
    "mlflow": """
from pathlib import Path
import numpy as np, onnx
from onnx import TensorProto, helper
from ontime import registry, schema
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, len(schema.FEATURE_NAMES)])
graph = helper.make_graph([helper.make_node("Identity", ["in"], ["out"])], "g", [value("in")], [value("out")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
client = registry.tracking_client("sqlite:///ours.db", Path("artifacts"))
ids = registry.record_runs(client, "p", [registry.Run("lightgbm", {}, {}, {}, "one")], [])
print(registry.register(client, "p", ids["lightgbm"], model.SerializeToString(), "one"))
""",
    "dvc": """
import subprocess, sys
for words in ("init -q --no-scm", "stage add -q -n ours -o out touch out", "repro -q"):
    subprocess.run([sys.executable, "-m", "dvc", *words.split()], check=True)
""",
    "git": """
import subprocess
for words in ("init -q", "add .", "-c user.name=t -c user.email=t@localhost commit -qm all"):
    subprocess.run(["git", *words.split()], check=True)
from pipelines.operations import lineage
print(lineage.git_commit())
""",
    "prefect": """
import subprocess, sys
subprocess.run([sys.executable, "-m", "prefect", "config", "set", "PREFECT_LOGGING_LEVEL=INFO"], check=True)
""",
    "matplotlib": "from ontime import plots",
}
OURS = {
    "mlflow": "ours.db",
    "dvc": "out",
    "git": ".git/index",
    "prefect": "var/prefect/profiles.toml",
    "matplotlib": "var/matplotlib",
}


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", "git"], cwd=folder, check=True)
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with our code, so that what is ours is written there, and not into this repository."""
    folder = tmp_path / "ours"
    for room in ("src", "pipelines"):
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PARAMS_YAML, folder)
    return folder


def foreign(theirs: Path, variables: Mapping[str, str] = FOREIGN) -> dict[str, str]:
    return {name: value.format(theirs) for name, value in variables.items()}


def everything_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("tool", WRITES)
def test_a_tool_writes_what_is_ours_to_us_and_nothing_to_others(tool: str, project: Path, theirs: Path) -> None:
    before = everything_in(theirs)
    code = f"from ontime import environment; environment.enforce()\n{WRITES[tool]}"
    given = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{project / 'src'}", **foreign(theirs)}
    for obeyed in ("PYTHONWARNINGS", "PYTHONPYCACHEPREFIX"):  # by Python's own start, before anything of ours runs
        del given[obeyed]

    subprocess.run([sys.executable, "-c", code], cwd=project, env=given, check=True)

    assert (project / OURS[tool]).exists()
    assert everything_in(theirs) == before


def test_packages_go_into_the_environment_that_is_named(tmp_path: Path, theirs: Path) -> None:
    before, venv = everything_in(theirs), tmp_path / "venv"
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr("tiny.py", "")
        content.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        content.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        content.writestr("tiny-1.dist-info/RECORD", "")
    variables = environment.project_variables({**os.environ, **foreign(theirs)}, tmp_path)

    subprocess.run([sys.executable, "-m", "venv", str(venv)], env=variables, check=True)
    python = str(venv / "bin/python")
    uv = [str(VENV / "bin/uv"), "pip", "install", "--quiet", "--no-index", "--python", python, str(wheel)]
    for command in (uv, [python, "-m", "pip", "install", "--quiet", "--no-index", "--force-reinstall", str(wheel)]):
        next(iter(venv.rglob("tiny.py")), wheel.with_suffix(".none")).unlink(missing_ok=True)
        subprocess.run([*command], env=variables, check=True)
        assert len(list(venv.rglob("tiny.py"))) == 1

    assert everything_in(theirs) == before


def test_make_and_python_settle_on_the_same(theirs: Path) -> None:
    given = {
        "PATH": os.environ["PATH"],
        "HOME": str(theirs),
        **foreign(theirs),
        **foreign(theirs, ONLY_FOR_MAKE),
        **KEPT,
    }
    shows = ["make", "--no-print-directory", "UNKNOWN=", "--eval", "show:;@env -0", "show"]

    output = subprocess.run(shows, cwd=ROOT, env=given, capture_output=True, text=True, check=True).stdout

    by_make = dict(each.split("=", 1) for each in output.split("\0") if each)
    own = {"UNKNOWN", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "VENV", "PYTHONDONTWRITEBYTECODE"}
    by_python = environment.project_variables(
        {name: value for name, value in given.items() if name not in ONLY_FOR_MAKE}
    )
    differing = {name for name in by_make.keys() | by_python.keys() if by_make.get(name) != by_python.get(name)}
    assert differing - own <= {"VERSION", "VOLUMES"}
    assert by_make["PYTHONPATH"] == f"{ROOT}:{ROOT}/src"
    assert not {"PYTHONHOME", "PYTHONSAFEPATH"} & by_make.keys()


def test_what_is_settled_stays_as_it_is(theirs: Path) -> None:
    """Else a process would start itself again for ever."""
    once = environment.project_variables({**os.environ, **foreign(theirs), "no_proxy": "intranet.example"})

    assert environment.project_variables(once) == once


def test_credentials_mirrors_and_proxies_stay() -> None:
    assert KEPT.items() <= environment.project_variables({**os.environ, **KEPT}).items()


def test_a_proxy_is_not_asked_for_this_machine() -> None:
    variables = environment.project_variables(
        {"HTTP_PROXY": "http://proxy.example:3128", "NO_PROXY": "intranet.example"}
    )

    assert variables["NO_PROXY"] == variables["no_proxy"] == "127.0.0.1,localhost,intranet.example"


def test_a_flow_by_hand_reports_where_our_own_setting_says(theirs: Path) -> None:
    server = "http://prefect.example/api"

    variables = environment.project_variables({**foreign(theirs), "ONTIME_PREFECT_URL": server})

    assert variables["PREFECT_API_URL"] == server
    assert "PREFECT_API_URL" not in environment.project_variables(foreign(theirs))


def test_an_argument_of_a_target_is_not_taken_from_the_environment() -> None:
    shows = [
        "make",
        "--no-print-directory",
        "UNKNOWN=",
        "--eval",
        "show:;@echo [$(VERSION)][$(VOLUMES)]",
        "show",
        "VERSION=2",
    ]

    result = subprocess.run(shows, cwd=ROOT, env={**os.environ, "VERSION": "7", "VOLUMES": "1"}, capture_output=True)

    assert result.stdout == b"[2][]\n"


def test_make_refuses_to_let_the_environment_win() -> None:
    result = subprocess.run(["make", "help"], cwd=ROOT, env={**os.environ, "MAKEFLAGS": "e"}, capture_output=True)

    assert result.returncode == 2
    assert b"run make without it" in result.stderr


def test_every_command_of_ours_settles_its_environment_before_it_runs() -> None:
    """But the stages, whose environment is DVC's, what a rebuilding runs in its clone, and the installation."""
    stages = {
        "ingest",
        "validate",
        "explore",
        "features",
        "train",
        "evaluate",
        "smoke_test",
        "prediction_deviation",
        "install",
        "usage",
    }
    commands = [
        path
        for room in ("pipelines", "serving")
        for path in (ROOT / room).rglob("*.py")
        if "__main__" in path.read_text() and path.stem not in stages
    ]

    assert len(commands) >= 5
    assert [path.name for path in commands if '__main__":\n    environment.enforce()\n' not in path.read_text()] == []


def test_every_command_makes_var_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also one that an earlier version has created."""
    (tmp_path / "var/spool").mkdir(parents=True)
    for path in (tmp_path / "var", tmp_path / "var/spool"):
        path.chmod(0o755)
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setattr(environment, "project_variables", lambda _: dict(os.environ))

    environment.enforce()

    assert open_to_others(tmp_path / "var") == {}
