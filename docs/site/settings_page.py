"""docs/settings.md: every setting with its meaning and default, from ontime/settings.py."""

import ast
import inspect
from itertools import pairwise
from typing import Any

from pydantic import SecretStr

from ontime.settings import PREFIX, SECRETS, Settings

# The first setting of each section.
SECTIONS = {
    "releases": "Files, databases and keys",
    "engine": "Engines and streams",
    "workspace": "Retraining, monitoring and backups",
    "host": "Service",
}
INTRODUCTION = f"""# Settings

Settings are environment variables that do not change the model; [params.yaml](params.md) has the parameters that do. An
unknown variable that begins with `{PREFIX}` and an invalid value are refused with the name of the variable.

A secret need not be in the environment: `{SECRETS}` names a folder with a file for each secret setting, such as
`{PREFIX.lower()}database_url`. Relative paths begin at the project's folder.

`make docs-reference` generates this page from [settings.py](../src/ontime/settings.py).
"""


def page() -> str:
    """Raises KeyError for a setting without a docstring."""
    meanings = _docstrings()
    text = INTRODUCTION
    for name in Settings.model_fields:
        if name in SECTIONS:
            text += f"\n## {SECTIONS[name]}\n\n| variable | meaning | default |\n| --- | --- | --- |\n"
        text += f"| `{PREFIX}{name.upper()}` | {_linked(meanings[name])} | {_default(name)} |\n"
    return text


def _docstrings() -> dict[str, str]:
    """Field -> the string below it."""
    (definition,) = ast.parse(inspect.getsource(Settings)).body
    return {
        ast.unparse(field.target): str(below.value.value)
        for field, below in pairwise(ast.iter_child_nodes(definition))
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant)
    }


def _linked(meaning: str) -> str:
    return meaning.replace("(docs/engines.md)", "([engines](engines.md))")


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    value: Any = field.default
    if field.default_factory or value is None or value == {}:
        return ""
    return f"`{value.get_secret_value() if isinstance(value, SecretStr) else value}`"
