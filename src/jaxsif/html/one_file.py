"""One HTML file that needs nothing but itself: no network, no server; pure but for its own style and script."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jaxsif.core.version import kit_version
from jaxsif.html.markup import Markup, tag
from jaxsif.html.plotly import MISSING

_HERE = Path(__file__).parent


def one_file(
    title: str, parts: Sequence[Markup | None], made_by: str, plotly: str | None
) -> str:
    """The text of the file.

    Args:
      parts: what the page shows, in its order.
      made_by: a sentence for the foot of the page.
      plotly: the library's source; without it there are no charts.
    """
    scripts = [plotly, (_HERE / "page.js").read_text()] if plotly else []
    safe = [_script_text(script) for script in scripts]
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        # Before anything that it holds for.
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(safe)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup((_HERE / "page.css").read_text())),
    )
    body = tag(
        "body",
        *parts,
        None if plotly else tag("p", MISSING, class_="missing"),
        tag(
            "footer",
            f"jax-sif {kit_version()}. {made_by} This file loads nothing; its charts are"
            " drawn by plotly.js (MIT licence), which it carries.",
        ),
        *(tag("script", script) for script in safe),
    )
    return f"<!DOCTYPE html>\n{tag('html', top, body, lang='en')}\n"


def _script_text(script: str) -> Markup:
    """Nothing in a script may end its element."""
    return Markup(script.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def _policy(scripts: Sequence[str]) -> str:
    """Nothing is loaded, and no script runs but these: not what a node's name holds."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    return (
        f"default-src 'none'; script-src {hashes or repr('none')}; style-src"
        " 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
