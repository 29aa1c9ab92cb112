"""`.venv/bin/ontime`, which is `python -m cli`."""

from cli.app import ontime

if __name__ == "__main__":
    ontime(prog_name="ontime")
