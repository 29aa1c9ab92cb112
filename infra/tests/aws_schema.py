"""Writes aws_schema.json: the AWS provider's schema of the resource types that infra/terraform uses.

    python infra/tests/aws_schema.py          run after adding a resource type (downloads about 70 MB)

The provider cannot be downloaded everywhere (a firewall may allow PyPI only), but its schema can: CDK Terrain generates
a binding from `terraform providers schema` for each version and publishes it on PyPI. The binding is generated
JavaScript, regular enough to be parsed. The result has the format of `terraform providers schema -json`, so it can be
compared with the provider's own output.
"""

import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Any

BINDING = "cdktn-provider-aws==25.8.1"
PROVIDER = "registry.terraform.io/hashicorp/aws"
MODULE = Path(__file__).resolve().parents[1] / "terraform"
SCHEMA = Path(__file__).with_name("aws_schema.json")
# A hundred service endpoints that only tests against a fake AWS set, and attributes that Terraform adds.
LEFT_OUT_OF_PROVIDER = ("alias", "endpoints")

FLAGS = re.compile(r"^    // (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n(.*\n.*\n.*)", re.MULTILINE)
ENTRY = re.compile(
    r"^ +(\w+): \{\n +value: .*\n +isBlock: (\w+),\n +type: \"(\w+)\",\n +storageClassType: \"(\w+)\"", re.MULTILINE
)
KINDS = {"String": "string", "Number": "number", "Boolean": "bool"}
STORED = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}


def used(module: Path) -> set[str]:
    """The resource types that the module creates, such as aws_lb."""
    text = "\n".join(path.read_text() for path in sorted(module.glob("*.tf")))
    return set(re.findall(r'^resource "(aws_\w+)"', text, re.MULTILINE))


class Binding:
    """One file of the binding: a resource type with its nested blocks."""

    def __init__(self, script: str) -> None:
        self._classes = dict(re.findall(r"^class (\w+) extends [^\n]*\n(.*?)^}\n", script, re.MULTILINE | re.DOTALL))
        self._functions = dict(re.findall(r"^function (\w+)\([^\n]*\n(.*?)^}\n", script, re.MULTILINE | re.DOTALL))
        self.resource = re.findall(r"^class (\w+) extends cdktn\.Terraform", script, re.MULTILINE)[0]

    def block(self, name: str) -> dict[str, Any]:
        """The attributes and nested blocks of the class `name`, or of a struct without a class."""
        body = self._classes.get(f"{name}OutputReference") or self._classes.get(name, "")
        written = self._functions.get(f"{name[0].lower()}{name[1:]}ToHclTerraform") or body
        entries = {key: (block == "true", kind, stored) for key, block, kind, stored in ENTRY.findall(written)}
        flags = {match[0]: match[1:] for match in FLAGS.findall(body)}
        made: dict[str, Any] = {"attributes": {}, "block_types": {}}
        for key in sorted(entries.keys() | flags.keys()):
            computed, optional, required, code = flags.get(key, ("false", "true", "false", ""))
            flags_by_name = {"required": required, "optional": optional, "computed": computed}
            attribute: dict[str, Any] = {word: True for word, value in flags_by_name.items() if value == "true"}
            is_block, kind, stored = entries.get(key, (False, "", ""))
            if is_block and computed == "false":
                made["block_types"][key] = self._nested(kind, stored, code, required == "true")
            elif is_block or ("= new " in code and "cdktn." not in code):
                made["attributes"][key] = {"type": self._object_type(code), **attribute}
            else:
                made["attributes"][key] = {"type": _type(kind, stored, code), **attribute}
        return {part: content for part, content in made.items() if content}

    def _known(self, name: str) -> bool:
        return f"{name[0].lower()}{name[1:]}ToHclTerraform" in self._functions

    def _nested(self, kind: str, stored: str, code: str, required: bool) -> dict[str, Any]:
        # Named after its list if it is one; a block whose own name is list keeps it.
        inner = self.block(name if self._known(name := re.sub(r"(List|Map)$", "", stored)) else stored)
        if kind == "struct":
            return {"nesting_mode": "single", "block": inner}
        limits = {"min_items": 1} if required else {}
        if "OutputReference(this" in code:  # the binding omits the list if there is at most one block
            limits["max_items"] = 1
        return {"nesting_mode": kind, "block": inner, **limits}

    def _object_type(self, code: str) -> list[Any]:
        """The type of a computed attribute: a list or set of objects."""
        name, _, wraps_set = re.findall(r"new (\w+?)(List|OutputReference)\(this, \"\w+\"(?:, (\w+))?", code)[0]
        block = self.block(name)
        fields = {key: attribute["type"] for key, attribute in block.get("attributes", {}).items()}
        for key, nested in block.get("block_types", {}).items():
            inner = {field: attribute["type"] for field, attribute in nested["block"].get("attributes", {}).items()}
            fields[key] = [nested["nesting_mode"], ["object", inner]]
        return ["set" if wraps_set == "true" else "list", ["object", fields]]


def _type(kind: str, stored: str, code: str) -> Any:
    """The Terraform type of an attribute, derived from its setter or getter."""
    if kind == "simple":
        return STORED[stored]
    if kind:
        outer, *rest = re.findall(r"List|Map", stored)[::-1]
        element: Any = STORED[re.sub(r"(List|Map)+$", "", stored)]
        for each in rest[::-1]:
            element = [each.lower(), element]
        return ["set" if kind == "set" else outer.lower(), element]
    if match := re.search(r"new cdktn\.(String|Number|Boolean)Map", code):
        return ["map", KINDS[match[1]]]
    if match := re.search(r"get(String|Number|Boolean)(Map|List)?Attribute", code):
        return [match[2].lower(), KINDS[match[1]]] if match[2] else KINDS[match[1]]
    if "getListAttribute" in code:
        return ["set" if "tolist" in code else "list", "string"]
    return "dynamic"


def read(package: tarfile.TarFile, of: str) -> dict[str, Any]:
    """The schema of one type, such as aws_lb. Raises KeyError if the binding lacks it."""
    opened = package.extractfile(f"package/lib/{of.removeprefix('aws_').replace('_', '-')}/index.js")
    assert opened is not None  # a file, not a folder
    binding = Binding(opened.read().decode())
    return {"version": 0, "block": binding.block(binding.resource)}


def read_provider(package: tarfile.TarFile) -> dict[str, Any]:
    provider = read(package, "provider")
    for part in provider["block"].values():
        for name in LEFT_OUT_OF_PROVIDER:
            part.pop(name, None)
    return provider


def download(folder: Path) -> tarfile.TarFile:
    arguments = ["download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest", str(folder), BINDING]
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        inside = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        return tarfile.open(fileobj=io.BytesIO(wheel.read(inside)))


def written(schema: dict[str, Any], version: str) -> str:
    """As JSON with one line per type, so that a diff between versions shows the changed types."""
    parts = []
    for part, types in schema.items():
        lines = ",\n".join(
            f"    {json.dumps(name)}: {json.dumps(attribute)}" for name, attribute in sorted(types.items())
        )
        parts.append(f"   {json.dumps(part)}: {{\n{lines}\n   }}")
    head = f'{{"format_version": "1.0", "version": "{version}", "source": "{BINDING}", "provider_schemas": {{'
    return "\n".join([head, f"  {json.dumps(PROVIDER)}: {{", ",\n".join(parts), "  }", "}}", ""])


def main() -> None:
    types = used(MODULE)
    with tempfile.TemporaryDirectory() as folder, download(Path(folder)) as package:
        named = package.extractfile("package/package.json")
        assert named is not None
        version = json.load(named)["cdktn"]["provider"]["version"]
        schema = {
            "provider": read_provider(package),
            "resource_schemas": {each: read(package, each) for each in sorted(types)},
        }
    SCHEMA.write_text(written(schema, version))
    print(f"{SCHEMA.name}: {len(types)} resource types of version {version}")


if __name__ == "__main__":
    main()
