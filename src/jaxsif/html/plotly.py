"""Finds plotly.js, which draws the charts: in the image, or in the Python package."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

# Installed by tools/image_post.sh, with its licence.
IN_IMAGE = Path("/opt/jax-sif/share/plotly/plotly.min.js")

_IN_PACKAGE = "package_data/plotly.min.js"

MISSING = (
    "no charts, because plotly is missing: pip install 'jax-sif[report]', or create the"
    " page in the image, which has it: singularity exec $JAX_IMAGE jax-sif report, or jax-sif"
    " scale show"
)


def plotly_js(in_image: Path = IN_IMAGE) -> str | None:
    """The source text of the library; None if it is missing."""
    for path in (in_image, _in_package()):
        if path is not None and path.is_file():
            return path.read_text(encoding="utf-8")
    return None


def _in_package() -> Path | None:
    """The file in the plotly package, which is not imported: that takes half a second."""
    spec = find_spec("plotly")
    origin = spec.origin if spec is not None else None
    return Path(origin).parent / _IN_PACKAGE if origin else None
