"""Stage 1: the raw tables of a vintage -> data/ingested/, in UTC, flights and weather one file a month."""

from dataclasses import fields

from ontime import refusal, sources
from ontime.params import load_params
from pipelines.layout import INGESTED, replacing_folder, write_tables


def main() -> None:
    params = load_params()
    tables = sources.read(params.vintage, params.known_until)
    with replacing_folder(INGESTED) as folder:
        write_tables(tables, folder)
    counts = ", ".join(f"{len(getattr(tables, field.name)):,} {field.name}" for field in fields(tables))
    print(f"ingest: {params.vintage}: {counts}")


if __name__ == "__main__":
    with refusal.told("ingest"):
        main()
