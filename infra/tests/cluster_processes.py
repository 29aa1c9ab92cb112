"""Dask's and Spark's own servers as processes: a scheduler or master, and two workers, in a folder of their own."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

from pipelines.operations.local_server import free_port

SPARK_CLASS = Path(pyspark.__file__).parent / "bin/spark-class"


@contextmanager
def dask_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Yields the variables by which an engine reaches it."""
    port, page = free_port(), free_port()
    address = f"tcp://127.0.0.1:{port}"
    scheduler = ["scheduler", "--host=127.0.0.1", f"--port={port}", f"--dashboard-address=127.0.0.1:{page}"]
    worker = ["worker", address, "--nthreads=1", "--nworkers=2", "--host=127.0.0.1", "--dashboard-address=127.0.0.1:0"]
    with ExitStack() as stack:
        for arguments in (scheduler, worker):
            stack.enter_context(
                _running([sys.executable, "-m", "distributed.cli.dask_" + arguments[0], *arguments[1:]], folder)
            )
            _wait_for(port)
        yield {"ONTIME_ENGINE": "dask", "ONTIME_ENGINE_ADDRESS": address}


@contextmanager
def spark_cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Yields the variables by which an engine reaches it."""
    port, page, *pages = (free_port() for _ in range(4))
    address = f"spark://127.0.0.1:{port}"
    deploy = "org.apache.spark.deploy"
    master = [f"{deploy}.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", str(page)]
    with ExitStack() as stack:
        stack.enter_context(_running([str(SPARK_CLASS), *master], folder))
        _wait_for(port)
        for each in pages:
            worker = [f"{deploy}.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "1g"]
            stack.enter_context(_running([str(SPARK_CLASS), *worker, "--webui-port", str(each), address], folder))
        yield {"ONTIME_ENGINE": "spark", "ONTIME_ENGINE_ADDRESS": address}


@contextmanager
def _running(command: Sequence[str], folder: Path) -> Iterator[None]:
    with (
        (folder / f"{len(list(folder.iterdir()))}.log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process,
    ):
        try:
            yield
        finally:
            process.kill()


def _wait_for(port: int) -> None:
    """Until somebody listens, at most a minute."""
    for _ in range(120):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"nobody listens on port {port}")
