"""The links on the page /ops: those of `ONTIME_LINKS`, and the tools that `make ui` is running."""

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

CONNECT_TIMEOUT_SECONDS = 0.2


def current_links(configured: Mapping[str, str], ui_links: Path) -> dict[str, str]:
    """Name -> address. A killed `make ui` leaves its file behind, so its addresses are listed only if they respond."""
    return {**{name: address for name, address in _read(ui_links).items() if _is_listening(address)}, **configured}


def _read(path: Path) -> dict[str, str]:
    with suppress(OSError, ValueError):  # it does not exist, or was edited by hand
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return {name: address for name, address in content.items() if isinstance(address, str)}
    return {}


def _is_listening(address: str) -> bool:
    try:
        parts = urlsplit(address)
        with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=CONNECT_TIMEOUT_SECONDS):
            return True
    except (OSError, ValueError):  # nothing listens there, or it is not an address
        return False
