"""`make bench-faults`: kills the service under load and moves the pointer under load; counts losses and failures.

Writes reports/bench_faults.json. Tests assert that nothing is lost and nothing fails; this bench measures over how many
attempts, and how long a promotion takes to reach every worker.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa
from tqdm import tqdm

from ontime import database, database_tables, release, release_pointer
from ontime.settings import Settings
from pipelines.layout import REPORTS, write_json
from tests.service import MORNING, Load, running, wait_for

KILLS = 12
MOVES = 10
WORKERS = 2
VAR = Path("var")  # another temporary folder may be in memory, where fsync costs nothing


def small_world(folder: Path) -> Settings:
    """The current release, published as 1 and as 2, and an empty database."""
    current = release_pointer.load_live(Settings().releases).manifest
    names = list(current.sha256)
    contents = {name: (Settings().releases / current.version / name).read_bytes() for name in names}
    for version in ("1", "2"):
        release.publish(folder / "releases", contents, current.model_copy(update={"version": version}))
    release_pointer.set_live(folder / "releases", "1")
    return Settings(
        releases=folder / "releases", database_url=f"sqlite:///{folder.resolve()}/ontime.db", spool=folder / "spool"
    )


def kill_under_load(settings: Settings) -> dict[str, int]:
    """The number of predictions in responses, and of those that are not in the database."""
    answered: set[str] = set()
    moments = random.Random(2013)
    for _ in tqdm(range(KILLS), desc="kill -9", disable=None):
        with (
            running(settings, ONTIME_WORKERS=str(WORKERS)) as service,
            Load(service.port, MORNING) as load,
        ):
            time.sleep(moments.uniform(0.3, 1.0))
            service.kill()
        answered |= {answer["prediction_id"] for answer in load.answers}
    with database.connect(settings.database_url).connect() as connection:
        kept = set(connection.execute(sa.select(database_tables.predictions.c.prediction_id)).scalars())
    return {"kills": KILLS, "answered": len(answered), "lost": len(answered - kept)}


def move_under_load(settings: Settings) -> dict[str, float]:
    """The number of responses and failures, and how long the previous release still served after a move."""
    delays = []
    with running(settings, ONTIME_WORKERS=str(WORKERS)) as service, Load(service.port, MORNING) as load:
        for move in tqdm(range(MOVES), desc="move the pointer", disable=None):
            old, new = ("1", "2") if move % 2 == 0 else ("2", "1")
            begin, moved = len(load.answers), time.time_ns()
            release_pointer.set_live(settings.releases, new)
            wait_for(lambda new=new: {each["model_version"] for each in load.answers[-200:]} == {new})  # type: ignore[misc]
            # The first half of a prediction's id is its time.
            lasted = [
                int(each["prediction_id"][:16], 16) for each in load.answers[begin:] if each["model_version"] == old
            ]
            delays.append(max(0.0, (max(lasted, default=moved) - moved) / 1e9))
    return {
        "moves": MOVES,
        "answered": len(load.answers),
        "failed": len(load.failures),
        "median_seconds": round(statistics.median(delays), 2),
        "longest_seconds": round(max(delays), 2),
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="faults-", dir=VAR) as folder:
        settings = small_world(Path(folder))
        report = {"workers": WORKERS, "kill": kill_under_load(settings), "reload": move_under_load(settings)}
    write_json(REPORTS / "bench_faults.json", report)
    print(f"bench-faults: {report}")


if __name__ == "__main__":
    main()
