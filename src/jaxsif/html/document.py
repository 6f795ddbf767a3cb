"""One self-contained HTML file with its charts' library, plotly.js."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from jaxsif.core.image import PLOTLY_JS
from jaxsif.html.markup import Markup, tag

_HERE = Path(__file__).parent


def html_document(
    title: str, parts: Sequence[Markup | None], footer: str, plotly: str | None
) -> str:
    """The text of the file.

    Args:
      parts: the content of the page.
      footer: sentences for the end of the page: who made it, with its versions.
      plotly: the library's source; without it there are no charts.
    """
    scripts = [plotly, (_HERE / "page.js").read_text()] if plotly else []
    safe = [_script_text(script) for script in scripts]
    top = tag(
        "head",
        tag("meta", charset="utf-8"),
        # Must come before everything that it applies to.
        tag("meta", http_equiv="Content-Security-Policy", content=_policy(safe)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", title),
        tag("style", Markup((_HERE / "page.css").read_text())),
    )
    body = tag(
        "body",
        *parts,
        None if plotly else tag("p", PLOTLY_MISSING, class_="missing"),
        tag(
            "footer",
            f"{footer} This file loads nothing; its charts are"
            " drawn by plotly.js (MIT licence), which it contains.",
        ),
        *(tag("script", script) for script in safe),
    )
    return f"<!DOCTYPE html>\n{tag('html', top, body, lang='en')}\n"


def _script_text(script: str) -> Markup:
    """Escape what would end the script element."""
    return Markup(script.replace("</script", "<\\/script").replace("<!--", "<\\!--"))


def _policy(scripts: Sequence[str]) -> str:
    """Load nothing and run these scripts only, so that injected text cannot run."""
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    hashes = " ".join(f"'sha256-{base64.b64encode(d).decode()}'" for d in digests)
    return (
        f"default-src 'none'; script-src {hashes or repr('none')}; style-src"
        " 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


# Installed by tools/image_post.sh, with its licence.
PLOTLY_IN_IMAGE = Path(PLOTLY_JS)

_IN_PACKAGE = "package_data/plotly.min.js"

PLOTLY_MISSING = (
    "no charts, because plotly is missing: pip install 'jax-sif[report]', or create the"
    " page in the image, which has it: singularity exec $JAX_IMAGE jax-sif report, or"
    " jax-sif scale show"
)


def plotly_js(in_image: Path = PLOTLY_IN_IMAGE) -> str | None:
    """The source text of the library; None if it is missing."""
    for path in (in_image, _in_package()):
        if path is not None and path.is_file():
            return path.read_text(encoding="utf-8")
    return None


def _in_package() -> Path | None:
    """The file in the plotly package, whose import would take half a second."""
    spec = find_spec("plotly")
    origin = spec.origin if spec is not None else None
    return Path(origin).parent / _IN_PACKAGE if origin else None
