"""The kit's pinned versions, from image.env and requirements/; used by tools/."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import difflib
import hashlib
import re
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
ACCELERATORS = ("cuda12", "cuda13", "cpu")
DEFAULT_ACCELERATOR = "cuda12"
# A wheel of which every image takes one file, and that it does not install.
REPORT = "report"
# What examples/ imports on top of an image has a lock, too.
EXAMPLES = "examples"
# What `make lock` itself runs.
TOOLS = "tools"

# The distributions of each component, whichever is in the lock.
COMPONENTS = {
    "jax": ("jax",),
    "jaxlib": ("jaxlib",),
    "plugin": ("jax-cuda12-plugin", "jax-cuda13-plugin"),
    "cuda": ("nvidia-cuda-runtime-cu12", "nvidia-cuda-runtime"),
    "cudnn": ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    "nccl": ("nvidia-nccl-cu12", "nvidia-nccl-cu13"),
}

_REQUIREMENT = re.compile(r"^([a-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)


class UsageError(Exception):
    """The requested value does not exist; the message lists the valid ones."""


def check_accelerator(value: str) -> str:
    if value in ACCELERATORS:
        return value
    nearest = max(ACCELERATORS, key=lambda name: _likeness(value, name))
    likely = _likeness(value, nearest) > 0.4
    hint = f"; did you mean {nearest}?" if likely else ""
    raise UsageError(
        f"ACCEL={value!r} is no accelerator this kit builds for;"
        f" choose one of {', '.join(ACCELERATORS)}{hint}"
    )


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one.lower(), other).ratio()


def pins(checkout: Path = CHECKOUT) -> dict[str, str]:
    """The KEY=value lines of image.env."""
    lines = (checkout / "image.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and line[0] != "#")


def base_reference(checkout: Path = CHECKOUT) -> str:
    """The base for a program, by digest only: not every one accepts a tag too."""
    chosen = pins(checkout)
    name, _, tag = chosen["BASE_IMAGE"].rpartition(":")
    digest = chosen["BASE_DIGEST"]
    return f"{name}@{digest}" if digest else f"{name}:{tag}"


def base_name(checkout: Path = CHECKOUT) -> str:
    """The base for people and for image.json: tag and digest."""
    chosen = pins(checkout)
    return f"{chosen['BASE_IMAGE']}@{chosen['BASE_DIGEST']}".rstrip("@")


def lock_path(accel: str, checkout: Path = CHECKOUT) -> Path:
    """The lock of an image's wheels, of REPORT, EXAMPLES or TOOLS."""
    others = (REPORT, EXAMPLES, TOOLS)
    name = accel if accel in others else check_accelerator(accel)
    return checkout / "requirements" / f"{name}.txt"


def debian_lock_path(checkout: Path = CHECKOUT) -> Path:
    suite = pins(checkout)["DEBIAN_SUITE"]
    return checkout / "requirements" / f"debian-{suite}.txt"


def locked_versions(accel: str, checkout: Path = CHECKOUT) -> dict[str, str]:
    """Version by distribution, for every wheel of the image."""
    return dict(_REQUIREMENT.findall(lock_path(accel, checkout).read_text()))


def component_versions(accel: str, checkout: Path = CHECKOUT) -> dict[str, str]:
    """Version of JAX, jaxlib, and with CUDA of the plugin, CUDA, cuDNN and NCCL."""
    locked = locked_versions(accel, checkout)
    return {
        component: locked[name]
        for component, names in COMPONENTS.items()
        for name in names
        if name in locked
    }


def jax_version(accel: str, checkout: Path = CHECKOUT) -> str:
    return locked_versions(accel, checkout)["jax"]


def image_name(accel: str, checkout: Path = CHECKOUT) -> str:
    """The name of the image, without its suffix: jax-sif-<jax version>-<accel>."""
    return f"jax-sif-{jax_version(accel, checkout)}-{accel}"


def lock_inputs_hash(accel: str, checkout: Path = CHECKOUT) -> str:
    """Changes when a lock would have to be made again."""
    wanted = (checkout / "requirements" / f"{accel}.in").read_text()
    if accel == EXAMPLES:
        # They stand on the image's versions.
        wanted += lock_path("cpu", checkout).read_text()
    keys = ("PYTHON_VERSION", "LOCK_PLATFORMS")
    chosen = "".join(f"{key}={pins(checkout)[key]}\n" for key in keys)
    return hashlib.sha256((wanted + chosen).encode()).hexdigest()[:16]


def image_labels(accel: str, revision: str, built: str) -> dict[str, str]:
    """The labels of an image beyond the fixed ones in the recipes."""
    components = component_versions(accel)
    return {
        "org.opencontainers.image.version": f"{components['jax']}-{accel}",
        "org.opencontainers.image.revision": revision,
        "org.opencontainers.image.created": built,
        "jax-sif.version": pins()["JAX_SIF_VERSION"],
        "jax-sif.accel": accel,
        **{f"jax-sif.{name}": version for name, version in components.items()},
    }
