"""`make pin-images` gives every image of other people the digest that its tag has now, and changes nothing else."""

import re

from infra import pins
from infra.tests.tools import INFRA, ROOT

COMPOSE, MAKEFILE = (INFRA / "compose.yaml").read_text(), (ROOT / "Makefile").read_text()
NEW = f"sha256:{'7' * 64}"


def test_every_digest_is_renewed_and_nothing_else() -> None:
    tags: list[str] = []

    def digest_of(tag: str) -> str:
        tags.append(tag)
        return NEW

    compose, makefile = pins.pinned(COMPOSE, MAKEFILE, pins.base_image(), digest_of)

    assert set(re.findall(r"sha256:[0-9a-f]{64}", compose + makefile)) == {NEW}
    assert tags[-1] == "python:3.11-slim-trixie"
    assert {"postgres:17.11-trixie", "prom/prometheus:v3.13.4", "chrislusf/seaweedfs:4.48"} <= set(tags)
    without = [re.sub(r"sha256:[0-9a-f]{64}", "", text) for text in (COMPOSE, MAKEFILE, compose, makefile)]
    assert without[:2] == without[2:]


def test_digests_that_are_current_change_nothing() -> None:
    digests = {match["tag"]: match[0].rpartition("@")[2] for match in pins.IMAGE.finditer(COMPOSE)}
    digests[pins.base_image()] = pins.BASE.search(MAKEFILE)[0].rpartition(" ")[2]  # type: ignore[index]  # there is one

    assert pins.pinned(COMPOSE, MAKEFILE, pins.base_image(), digests.__getitem__) == (COMPOSE, MAKEFILE)
