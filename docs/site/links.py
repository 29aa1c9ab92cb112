"""What pages contain for GitHub's sake, as the site needs it.

Links to a file that is not a page, such as `../src/ontime/gate.py`, lead to the file on the code host if `repository`
has an address, and are text otherwise. An HTML `<picture>` becomes two images, of which the theme shows one.
"""

import os
import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

from docs.site.navigation import may_be_missing

PICTURE = re.compile(
    r'<picture>\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">'
    r'\s*<img alt="(?P<alt>[^"]+)" src="(?P<light>[^"]+)">\s*</picture>'
)


class Pictures(SphinxTransform):
    default_priority = 4  # before the images are looked at

    def apply(self, **_: object) -> None:
        for raw in list(self.document.findall(nodes.raw)):
            if match := PICTURE.fullmatch(raw.astext().strip()):
                themes = ("light", "dark")
                raw.replace_self(
                    [nodes.image("", uri=match[each], alt=match["alt"], classes=[f"only-{each}"]) for each in themes]
                )


class RepositoryLinks(SphinxTransform):
    default_priority = 5  # before Sphinx copies the files and images that a page names

    def apply(self, **_: object) -> None:
        for link in [
            *self.document.findall(addnodes.download_reference),
            *self.document.findall(addnodes.pending_xref),
        ]:
            if link.get("reftype") == "myst" and not self._is_page(link):
                self._replace_link(link)
        for image in list(self.document.findall(nodes.image)):
            path = self._path(image["uri"])
            if not self._exists(path) and may_be_missing(Path(self.env.srcdir), path):
                image.replace_self(nodes.emphasis("", image.get("alt", path)))

    def _path(self, target: str) -> str:
        """Of the target of a link, from the root of the repository."""
        return os.path.normpath(os.path.join(os.path.dirname(self.env.docname), target))  # noqa: PTH118, PTH120

    def _exists(self, path: str) -> bool:
        return (self.env.srcdir / path).exists()

    def _is_page(self, link: nodes.Element) -> bool:
        return link.get("refdomain") == "doc" and link["reftarget"] in self.env.found_docs

    def _replace_link(self, link: nodes.Element) -> None:
        """Leave a link to nothing as it is: Sphinx refuses it."""
        page = link.get("refdomain") == "doc"
        path = f"{link['reftarget']}.md" if page else self._path(link["reftarget"].partition("#")[0])
        text = link.children[0].children
        if not self._exists(path) and not may_be_missing(Path(self.env.srcdir), path):
            return
        if self.config.repository and self._exists(path):
            link.replace_self(nodes.reference("", "", *text, refuri=f"{self.config.repository}/{path}"))
        else:
            link.replace_self(nodes.inline("", "", *text, classes=["repository-file"]))
