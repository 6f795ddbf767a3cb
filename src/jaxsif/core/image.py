"""The contents of the running image, as recorded by its build."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

from jaxsif.core.errors import CouldNotTell
from jaxsif.core.packages import PACKAGES_FOLDER

DESCRIPTION = Path("/opt/jax-sif/image.json")
BILL_OF_MATERIALS = Path("/opt/jax-sif/sbom.cdx.json")
# Of the user's own packages, where some are mounted.
PACKAGES_DESCRIPTION = Path(PACKAGES_FOLDER, "env.json")


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


def bill_of_materials(path: Path = BILL_OF_MATERIALS) -> str:
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
