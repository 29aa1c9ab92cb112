"""Stage 2: data/ingested/ -> data/validated/, data/quarantined/, reports/data_quality.json. Raises ContractBroken."""

from ontime import contract, progress, refusal
from ontime.schema import WORDS
from pipelines.layout import (
    INGESTED,
    QUARANTINED,
    REPORTS,
    VALIDATED,
    read_tables,
    replacing_folder,
    write_json,
    write_table,
    write_tables,
)


def main() -> None:
    with progress.steps("validate", 3) as begin:
        begin("reads the tables")
        ingested = read_tables(INGESTED)
        begin("repairs known errors and checks the contract")
        tables, quarantined, report = contract.clean(ingested)
        begin("writes a file for each month")
        with replacing_folder(VALIDATED) as folder:
            write_tables(tables, folder)
        with replacing_folder(QUARANTINED) as folder:
            for name, rows in quarantined.items():
                write_table(rows, folder / f"{name}.parquet")
    write_json(REPORTS / "data_quality.json", report)
    hits = sum(rule["hits"] for rule in report["rules"] if rule["action"] != "noted")
    print(
        f"validate: the contract holds; {hits:,} rows repaired or quarantined, "
        f"{report['labelled']:,} {WORDS.entities} labelled"
    )


if __name__ == "__main__":
    with refusal.exit_on_refusal("validate"):
        main()
