"""Stage 1: the raw tables of a dataset -> data/ingested/, in UTC, long tables as one file a month."""

from ontime import progress, refusal, sources
from ontime.params import load_params
from pipelines.layout import INGESTED, replacing_folder, write_tables


def main() -> None:
    params = load_params()
    with progress.steps("ingest", 2) as begin:
        begin("reads the raw tables")
        tables = sources.read(params.dataset, params.known_until)
        begin("writes a file for each month")
        with replacing_folder(INGESTED) as folder:
            write_tables(tables, folder)
    counts = ", ".join(f"{len(table):,} {name}" for name, table in tables.items())
    print(f"ingest: {params.dataset}: {counts}")


if __name__ == "__main__":
    with refusal.exit_on_refusal("ingest"):
        main()
