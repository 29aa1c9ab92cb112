"""SeaweedFS, the S3 server of the stack, on free ports of the loopback interface."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
from botocore.exceptions import EndpointConnectionError

from infra.tests.tools import tool
from pipelines.operations.local_server import free_port

BUCKET = "ontime-work"
KEYS = {"accessKey": "tests", "secretKey": "only-for-these-tests"}
ROLES = ("master", "volume", "filer", "s3")
ATTEMPTS = 120


@contextmanager
def object_store(folder: Path) -> Iterator[dict[str, str]]:
    """A running server with an empty bucket; yields the variables by which AWS's libraries reach it."""
    identity = {"name": "tests", "credentials": [KEYS], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    ports = {f"{role}.{port}": free_port() for role in ROLES for port in ("port", "port.grpc")}
    command = [tool("weed"), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += [f"-s3.config={folder}/s3.json", "-volume.max=50", "-master.volumeSizeLimitMB=64"]
    variables = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3.port']}",
        "AWS_ACCESS_KEY_ID": KEYS["accessKey"],
        "AWS_SECRET_ACCESS_KEY": KEYS["secretKey"],
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            _create_bucket(variables, server, folder / "log")
            yield variables
        finally:
            server.kill()  # its orderly stop can take minutes


def _create_bucket(variables: dict[str, str], server: subprocess.Popen[bytes], log: Path) -> None:
    """Once the server accepts it, within a minute."""
    os.environ.update(variables)
    for attempt in range(ATTEMPTS):
        try:
            fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True).mkdir(BUCKET)
            return
        except (OSError, EndpointConnectionError):  # s3fs gives up after some seconds
            if server.poll() is not None or attempt == ATTEMPTS - 1:
                raise AssertionError(log.read_text()[-2000:]) from None
            time.sleep(0.5)
