"""A NATS server for one machine, which lives as long as the process that started it. Its messages stay in a folder."""

import json
import secrets
import socket
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from ontime import files, locks
from ontime.settings import Settings
from pipelines import brokers
from pipelines.brokers import Broker, BrokerUnavailable
from pipelines.operations import local_server, processes

FOLDER = Path("var/broker")
READY_SECONDS = 60  # the server reads what it has stored before it is ready

# `always`: a message counts as stored when it is on the disk. By default the server synchronises every two minutes:
# after a loss of power it would give the numbers of lost messages to new ones, which a reader whose position is stored
# elsewhere would never see. The price is small, because batches are synchronised as a whole (brokers/nats.py).
CONFIG = """\
listen: "{host}:{port}"
authorization {{ token: "{token}" }}
jetstream {{ store_dir: {folder}, sync_interval: always }}
"""


@contextmanager
def embedded_nats(folder: Path) -> Iterator[str]:
    """Run a NATS server during the block and yield its address, which has a token: only this user can connect.

    The server listens on the loopback interface, if possible on the same port as the last time. It ends with this
    process, even if that is killed. Raises locks.Busy if one runs on the folder, and ProcessFailed.
    """
    files.make_private_folder(folder)
    with locks.hold(folder / "lock", "the broker of this machine"):
        log, address = folder / "nats.log", _address(folder)
        config = CONFIG.format(
            host=local_server.HOST, port=address.port, token=address.username, folder=json.dumps(str(folder.resolve()))
        )
        with files.replacing(folder / "nats.conf", files.PRIVATE) as path:
            path.write_text(config, encoding="utf-8")
        log.touch(files.PRIVATE)
        with (
            log.open("w", encoding="utf-8") as file,
            processes.process_group(
                [f"{sysconfig.get_path('scripts')}/nats-server", "-c", str(folder / "nats.conf")],
                stdout=file, stderr=file, umask=files.PRIVATE_UMASK,
            ) as process,
        ):  # fmt: skip
            try:
                local_server.wait_until_ready(
                    process, "nats-server", lambda: _answers(address.port or 0), READY_SECONDS, log.read_text
                )
                yield address.geturl()
            finally:
                local_server.stop([process])


@contextmanager
def connected(settings: Settings) -> Iterator[Broker]:
    """The broker that ONTIME_BROKER names; by default that of this machine, which is started if it does not run.

    Raises BrokerUnavailable and ProcessFailed.
    """
    with ExitStack() as stack:
        address: str | SecretStr
        if settings.broker is not None:
            address = settings.broker
        else:
            try:
                address = address_of(FOLDER)
            except BrokerUnavailable:
                address = stack.enter_context(embedded_nats(FOLDER))
        broker = brokers.connect(address)
        stack.callback(broker.close)
        yield broker


def address_of(folder: Path) -> str:
    """The address of the server that runs on the folder. Raises BrokerUnavailable if none does."""
    file = folder / "address"
    if not file.exists():
        raise BrokerUnavailable(str(folder), "no server has run in this folder")
    address = file.read_text(encoding="utf-8")
    if not _answers(urlsplit(address).port or 0):
        raise BrokerUnavailable(address, "it does not run")
    return address


def _address(folder: Path) -> SplitResult:
    """The address of the last time, so that whoever has it can go on, or a new one if another program has its port."""
    file = folder / "address"
    if file.exists():
        address = urlsplit(file.read_text(encoding="utf-8"))
        with suppress(OSError), socket.create_server((local_server.HOST, address.port or 0)):
            return address
    with files.replacing(file, files.PRIVATE) as path:
        text = f"nats://{secrets.token_urlsafe(24)}@{local_server.HOST}:{local_server.free_port()}"
        path.write_text(text, encoding="utf-8")
    return urlsplit(text)


def _answers(port: int) -> bool:
    """Whether a NATS server listens on the port: it begins with a line about itself."""
    with suppress(OSError), socket.create_connection((local_server.HOST, port), local_server.ANSWER_SECONDS) as server:
        return server.recv(4) == b"INFO"
    return False
