"""Whether the ranks of a local launch can have certificates, and what makes them; on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jaxsif.contract.errors import UsageError

TLS = "JAX_SIF_TLS"
CERTIFICATE = "JAX_MTLS_CERT_FILE"
# For the entry: the Python that makes certificates, outside the image.
PYTHON = "JAX_SIF_PYTHON"

_IMAGE = Path("/opt/jax")
_FIRST_JAX = (0, 11)


@dataclass(frozen=True)
class Certificates:
    """`python` makes them outside the image; `reason`: why there can be none."""

    python: str = ""
    reason: str = ""


# Its entry knows the rest.
OF_IMAGE = Certificates()


def look() -> Certificates:
    """What is there."""
    if _IMAGE.exists():
        return OF_IMAGE
    if importlib.util.find_spec("cryptography") is None:
        return Certificates(reason="jax-sif's Python has no package cryptography")
    try:
        version = importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        return Certificates(reason="jax-sif's Python has no JAX, so its age is unknown")
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _FIRST_JAX:
        return Certificates(reason=f"JAX {version} cannot, 0.11 and later can")
    return Certificates(python=sys.executable)


def warning(found: Certificates, users: Mapping[str, str], processes: int) -> str:
    """What to say of a group that will have none; empty when all is as the user chose.

    Raises UsageError when the user requires them.
    """
    chosen = users.get(TLS) or "on"
    if not found.reason or processes == 1 or chosen == "off" or users.get(CERTIFICATE):
        return ""
    if chosen == "required":
        raise UsageError(
            f"the group cannot be authenticated, and {TLS}=required: {found.reason};"
            " launch in the image, or install both into one environment"
        )
    return (
        f"the group is not authenticated: {found.reason}; other users of this machine"
        f" can join it ({TLS}=off silences this)"
    )
