"""The images of a release, as the lines of its images.txt, and the manifests that run them."""

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy

from infra.rehearsal.compatibility import containers_of
from infra.rehearsal.kubectl import ClusterFailed, Manifest

REFERENCE = re.compile(
    r"(?P<registry>[a-z0-9.:/_-]+/)?(?P<name>ontime-[a-z-]+)(?P<version>@sha256:[0-9a-f]{64}|:[\w.-]+)"
)


def images_of(text: str) -> dict[str, str]:
    """Image references by name, such as ontime-serve. Raises ClusterFailed for any other line.

    A tag is accepted only without a registry: such an image was loaded into the nodes and has no digest.
    """
    images: dict[str, str] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        match = REFERENCE.fullmatch(line)
        if match is None or (match["registry"] and not match["version"].startswith("@")):
            raise ClusterFailed(
                f"{line} is not an image with its digest, such as ghcr.io/OWNER/ontime-serve@sha256:..."
            )
        if match["name"] in images:
            raise ClusterFailed(f"{match['name']} is named twice: {images[match['name']]} and {line}")
        images[match["name"]] = line
    return images


def images_in(manifests: Sequence[Manifest]) -> dict[str, set[str]]:
    """The references of each image in the manifests, by its name."""
    references: dict[str, set[str]] = {}
    for container in (each for manifest in manifests for each in containers_of(manifest)):
        references.setdefault(name_of(container["image"]), set()).add(container["image"])
    return references


def name_of(reference: str) -> str:
    """Without registry and version.

    >>> name_of("localhost:5000/ontime-serve@sha256:0123")
    'ontime-serve'
    """
    return re.split("[:@]", reference.rpartition("/")[2])[0]


def with_images(manifests: Sequence[Manifest], images: Mapping[str, str]) -> list[Manifest]:
    """Copies of the manifests with these images. Raises ClusterFailed if one is missing, or has two versions."""
    references = images_in(manifests)
    if missing := sorted(references.keys() - images.keys()):
        raise ClusterFailed(f"no image is named for {', '.join(missing)}: add a line to the file")
    if canary := sorted(name for name, versions in references.items() if len(versions) > 1):
        raise ClusterFailed(f"two versions of {', '.join(canary)} in this overlay: apply a canary by hand")
    copies = deepcopy(list(manifests))
    for container in (each for manifest in copies for each in containers_of(manifest)):
        container["image"] = images[name_of(container["image"])]
    return copies
