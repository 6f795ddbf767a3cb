"""Copies linked files of the checkout into the site; a hook of MkDocs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files, InclusionLevel

ROOT = Path(__file__).resolve().parent.parent.parent
PLACE = "checkout/"

# The target of a Markdown link, without its anchor.
_LINK = re.compile(r"(?<=\]\()(?![a-z+]+:)([^)\s#]+)(?=[)#])")
_INDENTED = re.compile(r"    |\t")
# The bar of a cell's own text, which GitHub wants escaped and Python-Markdown does not.
_CELL_CODE = re.compile(r"`[^`\n]*`")


def on_files(files: Files, config: Any) -> Files:
    """Adds what is linked to outside docs/, and what that links to in turn."""
    docs = posixpath.relpath(config.docs_dir, ROOT)
    waiting = [f"{docs}/{file.src_uri}" for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        for path in _linked(waiting.pop()):
            if path in seen or not (ROOT / path).is_file():
                continue
            seen.add(path)
            if not path.startswith(f"{docs}/"):
                files.append(_file(path, config))
                waiting += [path] if path.endswith(".md") else []
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lets the links that leave docs/, or lead back, follow the files."""
    docs = posixpath.relpath(config.docs_dir, ROOT)
    here = page.file.src_uri
    path = here.removeprefix(PLACE) if here.startswith(PLACE) else f"{docs}/{here}"

    def moved(link: re.Match[str]) -> str:
        target = _target(path, link[1])
        if target.startswith(f"{docs}/"):
            uri = target.removeprefix(f"{docs}/")
        elif (ROOT / target).is_file():
            uri = PLACE + target
        else:
            # MkDocs reports it as a dead link.
            return link[1]
        return posixpath.relpath(uri, posixpath.dirname(here))

    return "\n".join(_line(line, moved) for line in markdown.split("\n"))


def _line(line: str, moved: Any) -> str:
    if _INDENTED.match(line):
        return line
    if line.startswith("|"):
        line = _CELL_CODE.sub(lambda code: code[0].replace(r"\|", "|"), line)
    return _LINK.sub(moved, line)


def _file(path: str, config: Any) -> File:
    return File.generated(
        config,
        PLACE + path,
        abs_src_path=str(ROOT / path),
        inclusion=InclusionLevel.NOT_IN_NAV,
    )


def _linked(path: str) -> Iterator[str]:
    for line in (ROOT / path).read_text().splitlines():
        if not _INDENTED.match(line):
            for link in _LINK.findall(line):
                yield _target(path, link)


def _target(path: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(path), link))
