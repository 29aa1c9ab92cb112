"""`make bench-faults`: attacks a service in every way that tests name, and counts losses, failures and seconds.

Writes reports/bench_faults.json and docs/attacks.md. Tests assert that nothing is lost and nothing fails; this bench
measures over how many attempts, and how long it takes. Needs PostgreSQL. One attack: python -m tests.e2e.faults fifo
"""

import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ontime import files
from pipelines.layout import REPORTS, write_json
from tests.e2e.faults import connections, databases, kills, releases, world

ATTACKS = [*kills.ATTACKS, *databases.ATTACKS, *connections.ATTACKS, *releases.ATTACKS]
VAR = Path("var")  # another temporary folder may be in memory, where fsync costs nothing
PAGE = Path("docs/attacks.md")
HEAD = """# Attacks

Written by `make bench-faults` ([bench_faults.json](../reports/bench_faults.json)), on two cores that the callers share with the service.
Each row is a new service with an empty database; *lost* are predictions in a response that are not in the database afterwards.
Requests that a kill cuts off have no response, so they count neither as answered nor as lost.

| attack | result |
| --- | --- |
"""


def page(results: Sequence[Mapping[str, Any]]) -> str:
    """docs/attacks.md, from the contents of reports/bench_faults.json."""
    rows = [f"| {each['attack']} | {', '.join(_words(each['figures']))} |\n" for each in results]
    return HEAD + "".join(rows)


def _words(figures: Mapping[str, Any]) -> list[str]:
    return [f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}" for name, value in figures.items()]


def main(names: Sequence[str]) -> None:
    chosen = [each for each in ATTACKS if not names or any(name in each.run.__name__ for name in names)]
    results = []
    for attack in (progress := tqdm(chosen, disable=None)):
        progress.set_description(attack.name)
        with tempfile.TemporaryDirectory(prefix="faults-", dir=VAR, ignore_cleanup_errors=True) as folder:
            figures = attack.run(world.new_production(Path(folder)))
        results.append({"attack": attack.name, "figures": figures})
        tqdm.write(f"{attack.name}: {', '.join(_words(figures))}")
    if not names:
        write_json(REPORTS / "bench_faults.json", results)
        files.write_text(PAGE, page(results))


if __name__ == "__main__":
    main(sys.argv[1:])
