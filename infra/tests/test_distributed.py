"""Partitions on real Dask and Spark with two workers each, and on the stack's S3 server: the bytes of one process.

Two months of the year with two copies of each row, so the numbers are larger than those of any real partition.
"""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import joblib
import pandas as pd
import pytest

from infra.tests import cluster_processes, engine_work
from infra.tests.object_store import BUCKET, object_store
from monitoring import performance
from ontime import database, features, partitions, schema
from ontime.batch_scoring import FIELDS
from ontime.datasets import KEY, Tables
from ontime.local_time import midnight
from ontime.params import Params
from ontime.problem.data import DATA
from ontime.refusal import Refusal
from ontime.settings import Settings
from pipelines import engines, layout, storage
from pipelines.engines.engine_error import EngineRefused
from pipelines.features import partitions_of, write_partition
from pipelines.layout import MonthsMissing
from pipelines.operations import score, score_input
from pipelines.operations.score import Options
from pipelines.tools import predictions_by_month
from tests import production

ENGINES = ("local", "dask", "spark")
DISTRIBUTED = ("dask", "spark")
MONTHS = ("2013-01", "2013-02")


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 2)


@pytest.fixture(scope="session")
def doubled(tables: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data/validated of two months, with two copies of each entity."""
    folder = tmp_path_factory.mktemp("doubled")
    until = partitions.month(MONTHS[-1], schema.ZONE).end
    short = dict(tables)
    for table in DATA.long:
        rows = tables[table.name]
        short[table.name] = rows[rows[table.moment] < until]
    rows = short[DATA.entities]
    copied = pd.concat([rows, rows.assign(**{KEY: "copy-" + rows[KEY]})])
    short[DATA.entities] = copied.sort_values([DATA.event_at, KEY], ignore_index=True)
    layout.write_tables(short, folder)
    return folder


@pytest.fixture(scope="session")
def one_process(doubled: Path, params: Params, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The file of each partition, built one after the other in this process."""
    folder = tmp_path_factory.mktemp("one-process")
    for part in partitions_of(doubled, params.features):
        write_partition(part, params, doubled, folder)
    return content_of(folder)


@pytest.fixture(scope="session", autouse=True)
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bucket. For all tests, because Spark's JVM keeps the variables of its start."""
    with pytest.MonkeyPatch.context() as patch, object_store(tmp_path_factory.mktemp("s3")) as variables:
        for name, value in variables.items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}/work"


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def built(doubled: Path, params: Params, folder: Path) -> dict[str, bytes]:
    """The file of each partition, as the stage `features` builds it."""
    with storage.shared({"tables": doubled}, folder) as places:
        work = partial(write_partition, params=params, source=places["tables"], folder=places["outputs"])
        written = list(engines.map_parts(work, partitions_of(doubled, params.features)))
    assert all(rows and compared for rows, compared in written)
    return content_of(folder)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("through", ["folder", "bucket", "mounted folder"])
def test_every_engine_writes_the_bytes_of_one_process(
    engine: str,
    through: str,
    s3: str,
    doubled: Path,
    one_process: dict[str, bytes],
    params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ONTIME_ENGINE", engine)
    shared = {"folder": None, "bucket": s3, "mounted folder": f"{tmp_path}/mounted"}[through]
    if shared is not None:
        monkeypatch.setenv("ONTIME_SHARED_STORAGE", shared)
    output = tmp_path / "output"
    output.mkdir()

    assert built(doubled, params, output) == one_process
    assert [*one_process] == [f"{month}.parquet" for month in MONTHS]
    if shared is not None:  # nothing stays there
        system, root = storage.filesystem(shared)
        assert [path for path in system.find(root, refresh=True) if path != root] == []  # SeaweedFS keeps the folder


@pytest.mark.parametrize("engine", ENGINES)
def test_a_partition_whose_halo_is_lost_is_refused(
    engine: str, s3: str, doubled: Path, params: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weather of January is what the first days of February look at."""
    monkeypatch.setenv("ONTIME_ENGINE", engine)
    monkeypatch.setenv("ONTIME_SHARED_STORAGE", s3)
    february = partitions.month("2013-02", schema.ZONE)
    lost = r"weather/2013-01\.parquet, which months\.json lists, is not there"
    with storage.shared({"tables": doubled}) as places:
        system, root = storage.filesystem(str(places["tables"]))
        system.rm(f"{root}/weather/2013-01.parquet")
        work = partial(write_partition, params=params, source=places["tables"], folder=tmp_path)

        with pytest.raises(MonthsMissing, match=lost):
            list(engines.map_parts(work, [february, february]))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_part_of_a_killed_worker_is_worked_on_again(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONTIME_ENGINE", engine)

    results = list(engines.map_parts(partial(engine_work.square_after_a_kill, flags=tmp_path), range(8)))

    assert [square for square, _ in results] == [part * part for part in range(8)]
    assert os.getpid() not in {process for _, process in results}
    assert (tmp_path / "3").exists()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_part_that_kills_every_worker_ends_the_work(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_ENGINE", engine)

    with pytest.raises(EngineRefused):
        list(engines.map_parts(engine_work.killed_always, range(4)))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_refusal_arrives_as_it_was_raised(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_ENGINE", engine)
    results = engines.map_parts(engine_work.refuse_second, range(4))

    assert next(results) == 0
    with pytest.raises(Refusal, match="part 1: its rows are wrong"):
        next(results)


@pytest.mark.parametrize("engine", ENGINES)
def test_any_other_error_arrives_as_well(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONTIME_ENGINE", engine)

    with pytest.raises(ZeroDivisionError):
        list(engines.map_parts(engine_work.divide_by, range(4)))


def test_dasks_workers_keep_freed_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """With Dask's threshold every large array is a system call, which doubles the CPU time of `features`."""
    monkeypatch.setenv("ONTIME_ENGINE", "dask")

    assert list(engines.map_parts(engine_work.variable, ["MALLOC_TRIM_THRESHOLD_", "OMP_NUM_THREADS"])) == [None, "1"]


@pytest.mark.parametrize("engine", DISTRIBUTED)
def test_an_engine_that_is_not_installed_is_refused_with_the_command(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONTIME_ENGINE", engine)

    def not_installed(_: str) -> None:
        raise ModuleNotFoundError("No module named 'it'", name="it")

    monkeypatch.setattr(engines, "import_module", not_installed)

    with pytest.raises(
        EngineRefused, match=f"needs the package it, which is not installed: make install ENGINE={engine}"
    ):
        engines.map_parts(engine_work.refuse_second, range(4))


@pytest.mark.parametrize("engine", DISTRIBUTED)
@pytest.mark.parametrize("through", ["folder", "bucket"])
def test_scores_are_the_same_file(
    engine: str,
    through: str,
    s3: str,
    settings: Settings,
    doubled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(score_input, "CHUNK_ROWS", 4_000)
    rows = pd.read_parquet(doubled / DATA.entities / "2013-02.parquet")
    rows[rows[KEY].str.startswith("copy-")][:10_000][[*FIELDS]].to_parquet(tmp_path / "rows.parquet")
    options = Options(history=doubled)
    score.score_files(settings, tmp_path / "rows.parquet", tmp_path / "local.parquet", options)
    monkeypatch.setenv("ONTIME_ENGINE", engine)
    if through == "bucket":
        monkeypatch.setenv("ONTIME_SHARED_STORAGE", s3)

    result = score.score_files(settings, tmp_path / "rows.parquet", tmp_path / "scored.parquet", options)

    assert (result.scored, result.without_features) == (10_000, 0)
    assert (tmp_path / "scored.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()


@pytest.mark.parametrize("engine", ENGINES)
def test_performance_is_of_the_same_rows(
    engine: str, settings: Settings, tables: Tables, params: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = [date(2013, 1, 31), date(2013, 2, 1)]  # a part is a month
    since, until = midnight(days[0]), midnight(days[-1] + timedelta(days=1))
    built = features.build(tables, since, until, params.features, params.question)
    rows = features.with_label(built, tables[DATA.entities], params.label.at_least)
    connected = database.connect(settings.database_url)
    for day in days:
        production.simulate_day(settings, connected, rows, tables, day)
    one_query = performance.predictions_with_outcomes(connected, since, until, 15, vectors=True)
    monkeypatch.setenv("ONTIME_ENGINE", engine)

    by_month = predictions_by_month.read_predictions(settings, days[0], days[-1] + timedelta(days=1), 15)

    assert len(by_month) > 1000
    pd.testing.assert_frame_equal(by_month, one_query.sort_values("prediction_id", ignore_index=True))


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which workers run that share no file with this process."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("SPARK_NO_DAEMONIZE", "1")
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    return folder


@pytest.mark.parametrize(
    "started",
    [
        pytest.param(cluster_processes.dask_cluster, id="dask"),
        pytest.param(cluster_processes.spark_cluster, id="spark"),
    ],
)
def test_workers_that_only_share_a_bucket_write_the_same_bytes(
    started: Callable[[Path], AbstractContextManager[dict[str, str]]],
    elsewhere: Path,
    s3: str,
    doubled: Path,
    one_process: dict[str, bytes],
    params: Params,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    monkeypatch.setenv("ONTIME_SHARED_STORAGE", s3)
    with started(elsewhere) as variables:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

        assert built(doubled, params, output) == one_process
