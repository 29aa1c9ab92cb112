"""`.venv/bin/ontime`, which is `python -m cli`."""

import signal
import sys

from cli.app import ontime

if __name__ == "__main__":
    # By default, a container's first process ignores SIGTERM. Commands that stop in their own way replace this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    ontime(prog_name="ontime")
