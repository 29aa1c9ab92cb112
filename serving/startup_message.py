"""What the service prints when it starts: release and address; on a terminal also the pages and an example."""

import json
import os
import shlex
import sys
from ipaddress import ip_address

from ontime.problem import PROBLEM
from ontime.settings import Settings


def startup_message(settings: Settings, version: str) -> str:
    """One line for a log. A person at a terminal, unless it is `ontime --quiet serve`, also gets the first steps."""
    note = "" if settings.api_keys else "; without API keys, so on loopback only"
    line = f"serve: release {version} on http://{authority(settings.host, settings.port)}{note}"
    if not os.isatty(sys.stdout.fileno()) or os.environ.get("TQDM_DISABLE"):
        return line
    return f"{line}\n{first_steps(page_url(settings), keys=settings.api_keys is not None)}"


def first_steps(url: str, *, keys: bool) -> str:
    """What to open, and a request to send; `keys`: whether it needs an API key."""
    body = shlex.quote(json.dumps(dict(next(iter(PROBLEM.examples.values())))))
    header = "-H 'Authorization: Bearer KEY' " if keys else ""
    steps = {
        "page": url,
        "operations": f"{url}ops",
        "API": f"{url}docs",
        "example": f"curl -s {url}v1/predictions {header}-d {body}",
    }
    steps |= {"KEY": "printed by `make key NAME=desk SCOPES=predict`"} if keys else {}
    return "\n".join(f"  {name:<12}{step}" for name, step in {**steps, "stop": "Ctrl-C"}.items())


def page_url(settings: Settings) -> str:
    """The address of the page in a browser on this machine."""
    return f"http://{authority(_reachable(settings.host), settings.port)}/"


def authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _reachable(host: str) -> str:
    """A host that a browser can open: the loopback address if the service listens on all interfaces."""
    try:
        return "127.0.0.1" if ip_address(host).is_unspecified else host
    except ValueError:  # a name
        return host
