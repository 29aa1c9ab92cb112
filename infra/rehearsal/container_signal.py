"""Signals the first process of a container, in a pod that shares the process table of the node.

    python -m infra.rehearsal.container_signal CONTAINER_ID SIGKILL

No process inside of the container can do it: there the kernel protects the first one. Needs only the standard library.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path


def first_process(processes: Path, container_id: str) -> int | None:
    """The lowest process id in /proc whose cgroup has the container's id; None if there is none."""
    process_ids = []
    for path in processes.glob("[0-9]*/cgroup"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if container_id in path.read_text(encoding="utf-8"):
                process_ids.append(int(path.parent.name))
    return min(process_ids, default=None)


def main() -> None:
    container_id, name = sys.argv[1:]
    process_id = first_process(Path("/proc"), container_id)
    if process_id is None:
        sys.exit(f"no process of container {container_id} on this node")
    os.kill(process_id, signal.Signals[name])
    print(f"{name} sent to process {process_id}")


if __name__ == "__main__":
    main()
