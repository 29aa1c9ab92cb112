"""`make bench-image`: seconds from `docker run` to the first ready response of the service.

The container is read-only and without capabilities, as in production. The time includes the container engine's own,
which each round measures with a container that does nothing.
"""

import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tqdm import trange

from ontime import signatures
from pipelines.layout import REPORTS, write_json
from pipelines.operations import local_server
from serving import keys

ROUNDS = 7
IMAGE = "ontime-serve"
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp")


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603, S607  our own arguments


def seconds_until(start: Callable[[], str], is_ready: Callable[[], bool]) -> float:
    """From the start of the container until it is ready; removes the container."""
    began = time.perf_counter()
    container = start()
    try:
        while not is_ready():
            time.sleep(0.01)
        return time.perf_counter() - began
    finally:
        docker("rm", "--force", "--volumes", container)


def service_seconds(folder: Path) -> float:
    port = local_server.free_port()
    options = [
        f"--publish=127.0.0.1:{port}:8000",
        f"--volume={Path('releases').resolve()}:/app/releases:ro",
        f"--volume={folder}/keys.json:/run/keys.json:ro",
        "--env=ONTIME_API_KEYS=/run/keys.json",
        f"--volume={signatures.trusted_keys_path().resolve()}:/run/trusted_keys:ro",
        f"--env={signatures.TRUSTED_KEYS_VARIABLE}=/run/trusted_keys",
    ]
    return seconds_until(
        lambda: docker("run", "--detach", *HARDENED, *options, IMAGE),
        lambda: local_server.responds(port, "/health/ready"),
    )


def engine_seconds() -> float:
    command = ("run", "--detach", *HARDENED, "--entrypoint=true", IMAGE)
    return seconds_until(lambda: docker(*command), lambda: True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        keys.add(Path(folder) / "keys.json", "bench", ["admin"])
        (Path(folder) / "keys.json").chmod(0o644)
        rounds = [(service_seconds(Path(folder)), engine_seconds()) for _ in trange(ROUNDS, desc="bench", disable=None)]
    seconds = {
        name: {"min": round(min(each), 2), "median": round(statistics.median(each), 2), "max": round(max(each), 2)}
        for name, each in zip(("ready_seconds", "engine_seconds"), zip(*rounds, strict=True), strict=True)
    }
    write_json(REPORTS / "bench_image.json", {"rounds": ROUNDS, **seconds})
    ready_after, engine = seconds["ready_seconds"]["median"], seconds["engine_seconds"]["median"]
    print(f"bench-image: ready after {ready_after} s, of which the engine takes {engine} s")


if __name__ == "__main__":
    main()
