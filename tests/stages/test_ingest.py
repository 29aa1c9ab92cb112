"""Data are ingested in the parts in which a reader yields them, with the result of one whole read."""

import json
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from ontime import sources
from ontime.datasets import SourceBroken, Tables
from ontime.problem.data import DATA
from pipelines import ingest, layout

Read = Callable[[], Iterator[Tables]]
SMALL = [table.name for table in DATA.tables if table.moment is None]


@pytest.fixture(scope="module")
def winter(raw: Tables) -> Tables:
    """The raw tables until the end of February 2013."""
    end = pd.Timestamp("2013-03-01", tz="America/New_York")
    return sources.cut(raw, pd.Timestamp("2012-12-01", tz="UTC"), end)


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> Callable[[Read], None]:
    """Lets flights-2013 be read by another function."""

    def use(read: Read) -> None:
        changed = replace(sources.dataset("flights-2013"), read=lambda _: read())
        monkeypatch.setattr(sources, "dataset", lambda _: changed)

    return use


def written(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.*"))}


def test_a_folder_of_csv_files_is_read_one_file_at_a_time(
    winter: Tables, dataset: Callable[[Read], None], tmp_path: Path
) -> None:
    days = winter["flights"]["scheduled_departure"].dt.strftime("%m-%d")
    edges = ("01-01", "01-20", "02-05", "03-02")  # the second file has rows of two months, which other files have too
    for number, (first, last) in enumerate(pairwise(edges)):
        winter["flights"][(days >= first) & (days < last)].to_csv(tmp_path / f"flights-{number}.csv", index=False)
    times = ["scheduled_departure", "scheduled_arrival", "departed_at", "arrived_at"]

    def read() -> Iterator[Tables]:
        yield {name: rows for name, rows in winter.items() if name != "flights"}
        for path in sorted(tmp_path.glob("flights-*.csv")):
            yield {
                "flights": pd.read_csv(path, parse_dates=times, date_format="ISO8601").astype(winter["flights"].dtypes)
            }

    dataset(read)
    counts = ingest.write_parts(sources.read_parts("flights-2013"), tmp_path / "parts")

    layout.write_tables(winter, tmp_path / "whole")
    whole, parts = (layout.read_tables(tmp_path / name) for name in ("whole", "parts"))
    assert counts == {name: len(rows) for name, rows in winter.items()}
    for name, rows in parts.items():
        by = ["scheduled_departure", "entity_id"] if name == "flights" else [*rows]
        assert_frame_equal(rows.sort_values(by, ignore_index=True), whole[name].sort_values(by, ignore_index=True))
    assert parts["flights"]["scheduled_departure"].is_monotonic_increasing
    assert json.loads((tmp_path / "parts/months.json").read_text()) == {
        "flights": ["2013-01", "2013-02"],
        "weather": ["2013-01", "2013-02"],
    }
    assert not (tmp_path / "parts/pieces").exists()


def test_parts_of_a_month_each_give_the_files_of_the_whole(
    winter: Tables, dataset: Callable[[Read], None], tmp_path: Path
) -> None:
    def read() -> Iterator[Tables]:
        for table in DATA.long:
            for _, rows in winter[table.name].groupby(sources.months_of(winter[table.name][table.moment])):
                yield {table.name: rows}
        yield {name: winter[name] for name in SMALL}

    dataset(read)
    ingest.write_parts(sources.read_parts("flights-2013"), tmp_path / "parts")
    ingest.write_parts([winter], tmp_path / "whole")

    assert written(tmp_path / "parts") == written(tmp_path / "whole")
    for name, rows in sources.read("flights-2013").items():
        assert_frame_equal(rows, winter[name].reset_index(drop=True))


def test_no_more_than_two_parts_are_in_memory(winter: Tables, dataset: Callable[[Read], None], tmp_path: Path) -> None:
    alive: list[weakref.ref[pd.DataFrame]] = []
    most = []

    def read() -> Iterator[Tables]:
        yield {name: winter[name] for name in (*SMALL, "weather")}
        for first in range(0, len(winter["flights"]), 5_000):
            rows = winter["flights"].iloc[first : first + 5_000].copy()
            alive.append(weakref.ref(rows))
            most.append(sum(each() is not None for each in alive))
            yield {"flights": rows}

    dataset(read)
    ingest.write_parts(sources.read_parts("flights-2013"), tmp_path / "parts")

    assert len(most) > 5
    assert max(most) <= 2


def test_parts_as_of_a_moment_lack_what_was_known_later(winter: Tables, dataset: Callable[[Read], None]) -> None:
    moment = pd.Timestamp("2013-02-03 17:00", tz="UTC").to_pydatetime()
    middle = len(winter["flights"]) // 2

    def read() -> Iterator[Tables]:
        yield {**winter, "flights": winter["flights"][:middle]}
        yield {"flights": winter["flights"][middle:]}

    dataset(read)

    for name, rows in sources.read("flights-2013", moment).items():
        assert_frame_equal(rows, sources.as_of(winter, moment)[name].reset_index(drop=True))


def without(name: str) -> Callable[[Tables], Iterator[Tables]]:
    return lambda tables: iter([{each: rows for each, rows in tables.items() if each != name}])


def twice(tables: Tables) -> Iterator[Tables]:
    yield tables
    yield {"planes": tables["planes"]}


def with_another_column(tables: Tables) -> Iterator[Tables]:
    yield {**tables, "weather": tables["weather"][:100]}
    yield {"weather": tables["weather"][100:].assign(cloud_cover=0.5)}


def without_a_time(tables: Tables) -> Iterator[Tables]:
    yield tables
    yield {"weather": tables["weather"][100:102].assign(hour=pd.Series(pd.NaT, [100, 101]))}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (without("weather"), "weather: the dataset's `read` does not return this table"),
        (twice, "planes: `read` yields this table twice"),
        (with_another_column, r"weather\.cloud_cover: only some of the parts"),
        (without_a_time, r"weather\.hour: 2 rows have no time, the first is row 100"),
    ],
    ids=["no table", "small table twice", "column", "time"],
)
def test_wrong_parts_are_refused_by_name_and_nothing_is_written(
    parts: Callable[[Tables], Iterator[Tables]], message: str, winter: Tables, dataset: Callable[[Read], None],
    tmp_path: Path,
) -> None:  # fmt: skip
    dataset(lambda: parts(winter))

    with pytest.raises(SourceBroken, match=message), layout.replacing_folder(tmp_path / "ingested") as folder:
        ingest.write_parts(sources.read_parts("flights-2013"), folder)

    assert list(tmp_path.iterdir()) == []
