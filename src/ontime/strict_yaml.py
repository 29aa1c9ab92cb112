"""Reads YAML that a person edits: a key that occurs twice is an error, where YAML's usual loader keeps the last one."""

from collections.abc import Iterator
from typing import Any

import yaml

MERGE_TAG = "tag:yaml.org,2002:merge"


class YamlBroken(ValueError):
    """The text is not valid YAML, or repeats a key; the message names the line or the key."""


def parse_yaml(text: str) -> Any:
    """The content of a YAML document. Raises YamlBroken.

    >>> parse_yaml("gate: {margin: 0.1}\\ntune: 1\\ngate: {margin: 9}")
    Traceback (most recent call last):
        ...
    ontime.strict_yaml.YamlBroken: gate: occurs in line 1 and again in line 3; remove one of them
    """
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if repeated := list(_repeated_keys(root, (), set())):
            raise YamlBroken("\n  ".join(repeated))
        return None if root is None else loader.construct_document(root)
    except yaml.YAMLError as error:
        raise YamlBroken(f"is not valid YAML: {' '.join(str(error).split())}") from None
    finally:
        loader.dispose()


def _repeated_keys(node: Any, place: tuple[str, ...], visited: set[int]) -> Iterator[str]:
    """A line about each key that its mapping has twice."""
    if id(node) in visited:  # an alias may refer to a node that contains it
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _repeated_keys(item, (*place, str(number)), visited)
    if not isinstance(node, yaml.MappingNode):
        return
    lines: dict[tuple[str, str], int] = {}
    for key, value in node.value:
        inner = (*place, str(key.value))
        line = key.start_mark.line + 1
        if isinstance(key, yaml.ScalarNode) and key.tag != MERGE_TAG:
            if first := lines.get((key.tag, key.value)):
                yield f"{'.'.join(inner)}: occurs in line {first} and again in line {line}; remove one of them"
            lines.setdefault((key.tag, key.value), line)
        yield from _repeated_keys(value, inner, visited)
