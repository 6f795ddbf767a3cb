"""Renews the samples and the table of causes in docs/explain.md, and docs/causes/."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "explain.md"
CAUSES = ROOT / "docs" / "causes"
COMMAND = "renew it with: python tools/causes_page.py"


def renewed(page: str) -> str:
    """The page, with every sample run again and the table made from the catalogue."""
    from jaxsif.logs.catalogue import load
    from jaxsif.logs.render import table

    page = re.sub(r"(?m)^    \$ jax-sif explain (\S+)\n(?:    .*\n)*", _sample, page)
    return re.sub(r"(?m)^\| \| Causes \|\n(?:\|.*\n)*", lambda _: table(load()), page)


def pages() -> dict[str, str]:
    """The pages of docs/causes/, by their names."""
    from jaxsif.logs import render
    from jaxsif.logs.catalogue import load

    return {f"{name}.md": render.page(load(), name) for name in render.PAGES}


def _sample(found: re.Match[str]) -> str:
    from jaxsif.logs import render
    from jaxsif.logs.scanner import LogScanner

    scanner = LogScanner()
    scanner.open(found[1])
    scanner.feed((ROOT / found[1]).read_bytes())
    shown = render.text(scanner.diagnosis(), [found[1]])
    lines = [f"$ jax-sif explain {found[1]}", *shown.splitlines()]
    return "".join(f"    {line}\n" for line in lines)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))
    PAGE.write_text(renewed(PAGE.read_text()))
    CAUSES.mkdir(exist_ok=True)
    for path in CAUSES.glob("*.md"):
        path.unlink()
    for name, text in pages().items():
        (CAUSES / name).write_text(text)
