"""Finds plotly.js, which draws the page's charts: in the image, or in the Python package; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# Put there by tools/image_post.sh, with its licence beside it.
IN_IMAGE = Path("/opt/jax-sif/share/plotly/plotly.min.js")

_IN_PACKAGE = "package_data/plotly.min.js"

MISSING = (
    "no charts, for plotly is not here: pip install 'jax-sif[report]', or make the page in"
    " the image, which has it: singularity exec $JAX_IMAGE jax-sif report, or jax-sif"
    " scale show"
)


def plotly_js(in_image: Path = IN_IMAGE) -> str | None:
    """The library's source text; None where there is none."""
    for path in (in_image, _in_package()):
        if path is not None and path.is_file():
            return path.read_text(encoding="utf-8")
    return None


def _in_package() -> Path | None:
    """In the package of that name, which is not imported: that takes half a second."""
    spec = find_spec("plotly")
    origin = spec.origin if spec is not None else None
    return Path(origin).parent / _IN_PACKAGE if origin else None
