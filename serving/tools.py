"""The tools that the page /ops links to: those of `ONTIME_LINKS`, and those that `make ui` shows at this moment."""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

PATIENCE_SECONDS = 0.2


def links(chosen: Mapping[str, str], shown: Path) -> dict[str, str]:
    """Name -> address. What `make ui` left behind when it was killed is found out by asking who listens there."""
    return {**{name: address for name, address in _shown(shown).items() if _listens(address)}, **chosen}


def _shown(path: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):  # it is not there, or somebody has edited it
        written = json.loads(path.read_text())
        if isinstance(written, dict):
            return {name: address for name, address in written.items() if isinstance(address, str)}
    return {}


def _listens(address: str) -> bool:
    try:
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=PATIENCE_SECONDS):
            return True
    except (OSError, ValueError):  # nobody, or no address
        return False
