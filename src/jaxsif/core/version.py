"""The versions of the kit, of its image and of JAX, without importing JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import functools
import re
from pathlib import Path

from jaxsif.core import image
from jaxsif.core.errors import CouldNotTell

# Of a checkout, and of the recipe in an image.
_PINS = tuple(
    Path(__file__).parents[3] / name for name in ("image.env", "recipe/image.env")
)
_UNKNOWN = "unknown"


@functools.cache
def kit_version() -> str:
    """The version of the files that run; `unknown` if it is written nowhere."""
    for pins in _PINS:
        if pins.is_file():
            found = re.search(r"^JAX_SIF_VERSION=(.+)$", pins.read_text(), re.M)
            return found[1] if found else _UNKNOWN
    return _installed("jax-sif") or _UNKNOWN


def version_text(description: Path = image.DESCRIPTION) -> str:
    """A line each for the kit, the image if this is one, and JAX."""
    lines = [f"jax-sif {kit_version()}"]
    try:
        facts = image.describe(description)
        lines.append(
            f"image {image.name(facts)}, built {facts['built']}, revision"
            f" {facts['revision']}"
        )
    except (CouldNotTell, KeyError):
        pass
    return "\n".join([*lines, f"JAX {_installed('jax') or 'not installed'}"])


def _installed(distribution: str) -> str | None:
    # Importing it takes some 30 ms, which an image and a checkout do without.
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
