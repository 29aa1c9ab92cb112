"""The input of `ontime score`: chunks of csv and parquet files, as records of a request's fields."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ontime import batch_scoring, online
from ontime.batch_scoring import FIELDS, REQUIRED
from ontime.counts import counted

CHUNK_ROWS = 20_000
SUFFIXES = (".csv", ".parquet")


class NotScored(ValueError):
    """The input or the arguments are refused; the message says where and why."""


class Chunk(NamedTuple):
    """Rows of a file: their numbers (1 is the first after the header), their values, and why others have none."""

    file: str
    numbers: Sequence[int]
    records: Sequence[Mapping[str, Any]]
    unreadable: Sequence[tuple[int, str]]


def input_files(source: Path) -> list[Path]:
    """The csv and parquet files of a folder in order of their names, or the file itself. Raises NotScored."""
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    chosen = [path for path in paths if path.suffix.lower() in SUFFIXES]
    if not chosen:
        raise NotScored(f"{source} is not a csv or parquet file, nor a folder of them")
    return chosen


def chunks_of(path: Path) -> Iterator[Chunk]:
    """Chunks of CHUNK_ROWS rows, the last one shorter. Raises NotScored: a column is missing, or the file is broken."""
    yield from (_csv_chunks if path.suffix.lower() == ".csv" else _parquet_chunks)(path)


def _csv_chunks(path: Path) -> Iterator[Chunk]:
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        lines = csv.reader(file, strict=True)
        try:
            header = next(lines, [])
            present = _present(path, header)
            cells = [(name, header.index(name), online.FIELDS[name]) for name in present]
            number = 0
            while rows := list(islice(lines, CHUNK_ROWS)):
                numbers, records, unreadable = [], [], []
                for row in rows:
                    number += 1
                    if len(row) == len(header):
                        numbers.append(number)
                        records.append({name: batch_scoring.value_of_text(kind, row[at]) for name, at, kind in cells})
                    elif row:  # an empty line is no row, but counts as one
                        unreadable.append((number, f"has {counted(len(row), 'column')}, the header has {len(header)}"))
                yield Chunk(path.name, numbers, records, unreadable)
        except csv.Error as error:
            raise NotScored(f"{path}, line {lines.line_num}: {error}") from None


def _parquet_chunks(path: Path) -> Iterator[Chunk]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            present = _present(path, file.schema_arrow.names)
            for batch in file.iter_batches(CHUNK_ROWS, columns=present):
                columns = [_values(batch.column(name)) for name in present]
                records = [dict(zip(present, row, strict=True)) for row in zip(*columns, strict=True)]
                yield Chunk(path.name, range(number + 1, number + 1 + len(records)), records, ())
                number += len(records)
    except pa.ArrowException as error:
        raise NotScored(f"{path}: {error}") from None


def _values(column: "pa.Array[Any]") -> list[Any]:
    """As Python objects; times with a zone in UTC."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        naive = column.cast(pa.timestamp("us", "UTC"), safe=False).to_numpy(zero_copy_only=False)
        moments = naive.astype("datetime64[us]").astype(object)
        return [None if moment is None else moment.replace(tzinfo=UTC) for moment in moments]
    return column.to_pylist()


def _present(path: Path, columns: Sequence[str]) -> list[str]:
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise NotScored(f"{path} has no column {missing[0]}: a request has {', '.join(FIELDS)}")
    return [name for name in FIELDS if name in columns]


def rows_in(path: Path) -> int:
    """The number of rows; of a csv file about, because its header and line breaks inside quotes count too."""
    if path.suffix.lower() == ".parquet":
        try:
            return int(pq.read_metadata(path).num_rows)
        except pa.ArrowException as error:
            raise NotScored(f"{path}: {error}") from None
    with path.open("rb") as file:
        blocks = iter(lambda: file.read(2**20), b"")
        return sum(block.count(b"\n") for block in blocks)
