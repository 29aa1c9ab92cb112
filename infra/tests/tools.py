"""The tools that check infra/: installed by `make test-infra` into a separate environment."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
BIN = ROOT / "var" / "infra-venv" / "bin"


def tool(name: str) -> str:
    """The path of an installed tool, such as kubectl. Raises FileNotFoundError with the command that installs it."""
    path = BIN / name
    if not path.exists():
        raise FileNotFoundError(f"{path.relative_to(ROOT)} is missing: run `make test-infra`")
    return str(path)
