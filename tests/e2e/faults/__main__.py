"""`make bench-faults`: attacks a service in every way that tests name, and counts losses, failures and seconds.

Writes reports/bench_faults.json and docs/attacks.md. Tests assert that nothing is lost and nothing fails; this bench
measures over how many attempts, and how long it takes. Needs PostgreSQL. One attack: python -m tests.e2e.faults fifo
"""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from ontime import files
from pipelines.layout import REPORTS, write_json
from tests.e2e.faults import connections, databases, kills, releases, world
from tests.e2e.faults.report import Figures, figure_words, page

ATTACKS = [*kills.ATTACKS, *databases.ATTACKS, *connections.ATTACKS, *releases.ATTACKS]
VAR = Path("var")  # another temporary folder may be in memory, where fsync costs nothing
REPORT = REPORTS / "bench_faults.json"
PAGE = Path("docs/attacks.md")


def main(names: Sequence[str]) -> None:
    """Run all attacks, or those whose function's name contains one of `names`; the report keeps the others' results."""
    chosen = [each for each in ATTACKS if not names or any(name in each.run.__name__ for name in names)]
    results: dict[str, Figures] = json.loads(REPORT.read_text()) if names and REPORT.exists() else {}
    for attack in (progress := tqdm(chosen, disable=None)):
        progress.set_description(attack.name)
        with tempfile.TemporaryDirectory(prefix="faults-", dir=VAR, ignore_cleanup_errors=True) as folder:
            results[attack.name] = attack.run(world.new_production(Path(folder)))
        tqdm.write(f"{attack.name}: {'; '.join(figure_words(results[attack.name]))}")
        ordered = {each.name: results[each.name] for each in ATTACKS if each.name in results}
        write_json(REPORT, ordered)
        files.write_text(PAGE, page(ordered))


if __name__ == "__main__":
    main(sys.argv[1:])
