"""Stage 1: the raw tables of a dataset -> data/ingested/, in UTC, long tables as one file a month."""

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ontime import refusal, sources
from ontime.datasets import Table, Tables
from ontime.params import load_params
from ontime.problem.data import DATA
from ontime.progress import progress_bar
from pipelines.layout import INGESTED, replacing_folder, write_months, write_record, write_table


def write_parts(parts: Iterable[Tables], folder: Path) -> Counter[str]:
    """Write the parts as they come, then join the rows of each month. Returns the number of rows of each table."""
    counts = Counter[str]()
    pieces = folder / "pieces"  # NUMBER OF THE PART/TABLE/MONTH.parquet
    for number, part in enumerate(parts):
        for table in DATA.tables:
            if (rows := part.get(table.name)) is None:
                continue
            counts[table.name] += len(rows)
            if table.moment is None:
                write_table(rows, folder / f"{table.name}.parquet")
            else:
                months = sources.months_of(rows[table.moment])
                write_months(rows, months, pieces / f"{number:06}" / table.name)
    for table in DATA.long:
        join_months(pieces, table, folder / table.name)
    shutil.rmtree(pieces, ignore_errors=True)
    write_record(folder)
    return counts


def join_months(pieces: Path, table: Table, folder: Path) -> None:
    """Move the rows of each month, which may have come in several parts, into one file."""
    folder.mkdir()
    for month in sorted({path.name for path in pieces.glob(f"*/{table.name}/*.parquet")}):
        first, *others = sorted(pieces.glob(f"*/{table.name}/{month}"))
        if others:
            rows = [pd.read_parquet(path) for path in (first, *others)]
            write_table(sources.join_pieces(rows, table), folder / month)
        else:
            first.rename(folder / month)


def main() -> None:
    params = load_params()
    parts = sources.read_parts(params.dataset, params.known_until)
    with replacing_folder(INGESTED) as folder:
        counts = write_parts(progress_bar(parts, desc="ingest", unit="parts"), folder)
    print(f"ingest: {params.dataset}: {', '.join(f'{counts[table.name]:,} {table.name}' for table in DATA.tables)}")


if __name__ == "__main__":
    with refusal.exit_on_refusal("ingest"):
        main()
