"""Where the links of a page lead, on a code host; read by the tests of the pages."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from doc_commands import FENCED, INDENTED, INLINE


@dataclass(frozen=True)
class Link:
    """From a page to a file, and to a place in it; both may be empty."""

    path: str
    anchor: str


def links(page: str) -> list[Link]:
    """Relative links, but for what stands in code."""
    for code in (FENCED, INDENTED, INLINE):
        page = code.sub("", page)
    targets = re.findall(r"\]\(([^)\s]+)\)", page)
    return [
        Link(path, anchor)
        for path, _, anchor in (target.partition("#") for target in targets)
        if ":" not in path
    ]


def anchors(page: str) -> set[str]:
    """The places of a page, by the names that code hosts give its headings."""
    page = INDENTED.sub("", FENCED.sub("", page))
    found: Counter[str] = Counter()
    names = set()
    for heading in re.findall(r"(?m)^#+ (.+)$", page):
        plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        name = re.sub(r"[^\w\- ]", "", plain.strip().lower()).replace(" ", "-")
        names.add(f"{name}-{found[name]}" if found[name] else name)
        found[name] += 1
    return names


def dead_links(file: Path, page: str) -> list[str]:
    """Links of a page to files, or places in pages, that are not there."""
    return [
        f"{link.path}#{link.anchor}" if link.anchor else link.path
        for link in links(page)
        if not _leads_somewhere(file, page, link)
    ]


def _leads_somewhere(file: Path, page: str, link: Link) -> bool:
    target = file.parent / link.path if link.path else file
    if not target.exists():
        return False
    if not link.anchor:
        return True
    return link.anchor in anchors(target.read_text() if link.path else page)
