"""The policy admits what release.yml signs, and nothing else.

No cluster with Kyverno was available: its schema, as far as the policy uses it, is modelled from its documentation.
"""

import re
from copy import deepcopy
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from infra.tests.kubernetes.manifests import KUBERNETES, parsed, render
from infra.tests.workflows import read

POLICY = yaml.safe_load((KUBERNETES / "policy/verify-images.yaml").read_text())
SIGNER = "https://github.com/your-org/ontime/.github/workflows/release.yml@refs/tags/v0.1.0"


class Model(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="forbid", strict=True)


class Keyless(Model):
    issuer: str
    subject_reg_exp: Annotated[str, Field(pattern=r"^\^.*\$$")]


class Entry(Model):
    keyless: Keyless


class Attestor(Model):
    count: Literal[1]
    entries: Annotated[list[Entry], Field(min_length=1)]


class VerifyImages(Model):
    type: Literal["SigstoreBundle"]  # release.yml signs with cosign 3
    image_references: list[str]
    failure_action: Literal["Enforce"]
    required: Literal[True]
    verify_digest: Literal[True]
    mutate_digest: bool
    attestors: Annotated[list[Attestor], Field(min_length=1)]


class Rule(Model):
    name: Annotated[str, Field(max_length=63)]
    match: dict[str, Any]
    verify_images: Annotated[list[VerifyImages], Field(min_length=1)]


class Webhook(Model):
    failure_policy: Literal["Fail"]
    timeout_seconds: Annotated[int, Field(ge=1, le=30)]


class Spec(Model):
    background: Literal[False]
    webhook_configuration: Webhook
    rules: Annotated[list[Rule], Field(min_length=1)]


class ClusterPolicy(Model):
    api_version: Literal["kyverno.io/v1"]
    kind: Literal["ClusterPolicy"]
    metadata: dict[str, str]
    spec: Spec


def signer() -> Keyless:
    (rule,) = ClusterPolicy.model_validate(POLICY).spec.rules
    return rule.verify_images[0].attestors[0].entries[0].keyless


def test_the_policy_has_kyvernos_form() -> None:
    assert ClusterPolicy.model_validate(POLICY).metadata == {"name": "ontime-images-are-signed"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("type",), "Cosign"),  # finds no signature of cosign 3, and would admit nothing
        (("failureAction",), "Audit"),
        (("required",), False),
        (("verifyDigest",), False),
        (("attestors",), []),
        (("attestor",), []),
    ],
    ids=["cosign 2", "audit only", "not required", "tags", "nobody signs", "misspelt"],
)
def test_a_weaker_policy_is_found(path: tuple[str], value: Any) -> None:
    weaker = deepcopy(POLICY)
    weaker["spec"]["rules"][0]["verifyImages"][0][path[0]] = value

    with pytest.raises(ValidationError):
        ClusterPolicy.model_validate(weaker)


def test_it_is_about_every_pod_of_the_namespace_of_the_overlays() -> None:
    (rule,) = ClusterPolicy.model_validate(POLICY).spec.rules
    (namespace,) = [each for each in parsed(render("production")) if each["kind"] == "Namespace"]

    assert rule.match == {"any": [{"resources": {"kinds": ["Pod"], "namespaces": [namespace["metadata"]["name"]]}}]}
    assert rule.verify_images[0].image_references == ["*"]


def test_the_signer_is_the_release_workflow_at_a_version_tag() -> None:
    release = read("release.yml")
    tokens = [job for job in release["jobs"].values() if job["permissions"].get("id-token") == "write"]

    assert release["on"] == {"push": {"tags": ["v*"]}}
    assert any("cosign sign" in str(job["steps"]) for job in tokens)
    assert signer().issuer == "https://token.actions.githubusercontent.com"
    assert re.fullmatch(signer().subject_reg_exp, SIGNER)


@pytest.mark.parametrize(
    "other",
    [
        SIGNER.replace("release.yml", "check.yml"),
        SIGNER.replace("refs/tags/v0.1.0", "refs/heads/main"),
        SIGNER.replace("your-org/ontime", "somebody/ontime"),
        SIGNER.replace("your-org/ontime", "your-org/ontime/.github/workflows/release.yml@refs/tags/v1.0.0/x"),
        SIGNER.replace("github.com", "githubxcom"),
        f"{SIGNER}-test",
    ],
)
def test_another_signer_is_refused(other: str) -> None:
    assert not re.fullmatch(signer().subject_reg_exp, other)
