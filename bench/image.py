"""How long a container of the service takes from `docker run` to its first ready answer: `make bench-image`.

Read-only and without capabilities, as it will run. The engine's own time is in it: a container that does nothing is
started beside it, round after round.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import trange

from pipelines.layout import REPORTS, write_json
from pipelines.operations import local_server
from serving import keys

ROUNDS = 7
IMAGE = "ontime-serve"
TIGHT = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603, S607  our own words


def seconds_until(started: Callable[[], str], is_there: Callable[[], bool]) -> float:
    """From before the start until it is there; the container is removed afterwards."""
    began = time.perf_counter()
    container = started()
    try:
        while not is_there():
            time.sleep(0.01)
        return time.perf_counter() - began
    finally:
        docker("rm", "--force", "--volumes", container)


def ready(folder: Path) -> float:
    port = local_server.free_port()
    options = [
        f"--publish=127.0.0.1:{port}:8000",
        f"--volume={Path('releases').resolve()}:/app/releases:ro",
        f"--volume={folder}/keys.json:/run/keys.json:ro",
        "--env=ONTIME_API_KEYS=/run/keys.json",
    ]
    return seconds_until(
        lambda: docker("run", "--detach", *TIGHT, *options, IMAGE), lambda: local_server.responds(port, "/health/ready")
    )


def nothing() -> float:
    started = ("run", "--detach", *TIGHT, "--entrypoint=true", IMAGE)
    return seconds_until(lambda: docker(*started), lambda: True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        keys.add(Path(folder) / "keys.json", "bench", ["admin"])
        (Path(folder) / "keys.json").chmod(0o644)
        rounds = [(ready(Path(folder)), nothing()) for _ in trange(ROUNDS, desc="bench", disable=None)]
    told = {
        name: {"min": round(min(each), 2), "median": round(statistics.median(each), 2), "max": round(max(each), 2)}
        for name, each in zip(("ready_seconds", "engine_seconds"), zip(*rounds, strict=True), strict=True)
    }
    write_json(REPORTS / "bench_image.json", {"rounds": ROUNDS, **told})
    ready_after, engine = told["ready_seconds"]["median"], told["engine_seconds"]["median"]
    print(f"bench-image: ready after {ready_after} s, of which the engine takes {engine} s")


if __name__ == "__main__":
    main()
