"""Certificates of a local launch, shared by all ranks, or why there are none."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Mapping

from jaxsif.core.errors import UsageError

TLS = "JAX_SIF_MTLS"
CERTIFICATE = "JAX_MTLS_CERT_FILE"
# For the entry: the Python that creates certificates outside the image.
PYTHON = "JAX_SIF_PYTHON"

_FIRST_JAX = (0, 11)


def why_none() -> str:
    """Why this Python cannot make certificates that JAX would use; empty if it can."""
    if importlib.util.find_spec("cryptography") is None:
        return "jax-sif's Python has no package cryptography"
    try:
        version = importlib.metadata.version("jax")
    except importlib.metadata.PackageNotFoundError:
        return "jax-sif's Python has no JAX, whose version decides"
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < _FIRST_JAX:
        return f"JAX {version} cannot, 0.11 and later can"
    return ""


def is_needed(caller: Mapping[str, str], processes: int) -> bool:
    """Whether there are several processes, and the caller set neither TLS off nor a
    certificate."""
    is_off = caller.get(TLS) == "off"
    return processes > 1 and not is_off and not caller.get(CERTIFICATE)


def warning(reason: str, caller: Mapping[str, str]) -> str:
    """The warning for a group without certificates.

    Raises UsageError when the caller requires them.
    """
    if caller.get(TLS) == "required":
        raise UsageError(
            f"the group cannot be authenticated, and {TLS}=required: {reason}; launch"
            " in the image, or install both into one environment"
        )
    return (
        f"the group is not authenticated: {reason}; other users of this machine can"
        f" join it ({TLS}=off silences this)"
    )


def make(step: str, host: str) -> dict[str, str]:
    """The variables with which JAX finds the certificates, in each rank.

    The launcher keeps the file open until it ends. All ranks are on this machine, so a
    fresh secret is enough.
    """
    from jaxsif.start import certificates

    content = certificates.credentials(
        os.urandom(certificates.SECRET_BYTES), step, host
    )
    return certificates.variables(step, certificates.reserve_port(content))
