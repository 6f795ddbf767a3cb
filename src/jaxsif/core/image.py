"""Paths in the image, its contents, and the versions of the kit and of JAX."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import functools
import json
import re
import zlib
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from jaxsif.core.errors import CouldNotTell

# The image's Python environment with JAX, and the kit's own files. (The shell programs,
# and `start/bundle.py`, which runs before any other module, write them out.)
VENV = "/opt/jax"
KIT = "/opt/jax-sif"
IMAGE_JSON = f"{KIT}/image.json"
BILL_OF_MATERIALS = f"{KIT}/sbom.cdx.json"
IMAGE_PACKAGES = f"{KIT}/packages.txt"
XLA_FLAGS = f"{KIT}/xla_flags.txt"
PLOTLY_JS = f"{KIT}/share/plotly/plotly.min.js"
ENTRY = f"{KIT}/lib/jaxsif/entry"
DIAGNOSTICS = f"{KIT}/diag"

# What the "G" of a topology stands for: "gpu", or "cpu" on a cluster without GPUs.
PLATFORM_VARIABLE = "JAX_SIF_PLATFORM"
# The cluster's network, by its name in job/networks; unset if unknown.
NETWORK_VARIABLE = "JAX_SIF_NETWORK"

# A file that `jax-sif packages create` has written.
PACKAGES_VARIABLE = "JAX_SIF_PACKAGES"
# Set to 1: run them on another image than the one that they were made for.
ANY_IMAGE_VARIABLE = "JAX_SIF_PACKAGES_ANY_IMAGE"
# Empty in the image, and on the path behind its own packages (tools/image_post.sh).
PACKAGES_DIR = f"{KIT}/env"

DESCRIPTION = Path(IMAGE_JSON)
# Of the user's own packages, where some are mounted.
PACKAGES_DESCRIPTION = Path(PACKAGES_DIR, "packages.json")

# Of a checkout, and of the recipe in an image.
_PINS = tuple(
    Path(__file__).parents[3] / name for name in ("image.env", "recipe/image.env")
)
_UNKNOWN = "unknown"


class Versions(Struct, frozen=True):
    """The kit, image and JAX of one process."""

    kit: Annotated[str, Meta(description="The version of jax-sif.")]
    image: Annotated[
        str | None, Meta(description="Its name; null outside an image.")
    ] = None
    jax: Annotated[str | None, Meta(description="Null where none is installed.")] = None

    def __str__(self) -> str:
        parts = (
            f"jax-sif {self.kit}",
            f"image {self.image}" if self.image else "no image",
            f"JAX {self.jax}" if self.jax else "no JAX",
        )
        return ", ".join(parts)


@functools.cache
def versions(description: Path = DESCRIPTION) -> Versions:
    """The versions of this process, without importing JAX; read once."""
    try:
        facts = describe(description)
        return Versions(kit_version(), name(facts), str(facts["versions"]["jax"]))
    except (CouldNotTell, KeyError, TypeError):
        return Versions(kit_version(), None, _installed("jax"))


def fingerprint(description: Path = DESCRIPTION) -> str | None:
    """A checksum of the image's description; None without one."""
    try:
        return f"{zlib.crc32(description.read_bytes()):08x}"
    except OSError:
        return None


def describe(description: Path = DESCRIPTION) -> dict[str, Any]:
    """Versions, build date, git revision and lock hash. Raises CouldNotTell."""
    try:
        facts: dict[str, Any] = json.loads(description.read_text())
    except (OSError, ValueError) as error:
        raise _unreadable(description, error) from error
    return facts


def name(facts: dict[str, Any]) -> str:
    """The image's name, such as jax-sif-0.12.0.1-cpu, from its description."""
    return f"jax-sif-{facts['versions']['jax']}-{facts['accel']}"


def bill_of_materials(path: Path = Path(BILL_OF_MATERIALS)) -> str:
    """Every package of the image, as CycloneDX in JSON. Raises CouldNotTell."""
    try:
        return path.read_text()
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> CouldNotTell:
    return CouldNotTell(
        f"cannot read this image's contents from {str(path)!r}: {error};"
        " run `jax-sif info` in the image: singularity exec $JAX_IMAGE jax-sif info"
    )


def kit_version() -> str:
    """The version of the files that run; `unknown` if it is written nowhere."""
    for pins in _PINS:
        if pins.is_file():
            found = re.search(r"^JAX_SIF_VERSION=(.+)$", pins.read_text(), re.M)
            return found[1] if found else _UNKNOWN
    return _installed("jax-sif") or _UNKNOWN


def version_text(description: Path = DESCRIPTION) -> str:
    """A line each for the kit, the image if this is one, and JAX."""
    found = versions(description)
    lines = [f"jax-sif {found.kit}"]
    if found.image:
        facts = describe(description)
        made = f"built {facts.get('built')}, revision {facts.get('revision')}"
        lines.append(f"image {found.image}, {made}")
    return "\n".join([*lines, f"JAX {found.jax or 'not installed'}"])


def _installed(distribution: str) -> str | None:
    # Importing it takes some 30 ms, which an image and a checkout do without.
    from importlib import metadata

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
