"""Whether a file of packages fits an image; runs in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxsif.core.packages import ANY_IMAGE_VARIABLE
from jaxsif.core.problem import Problem
from jaxsif.overlay import manifest, squash

# What a package says of what it needs, and of what it was built for.
_FACTS = (
    "lib/*/site-packages/*.dist-info/METADATA",
    "lib/*/site-packages/*.dist-info/WHEEL",
)
_MAX_NAMED = 5


def read(file: Path) -> manifest.Manifest:
    """What the file says of itself. Raises UsageError or KitError."""
    description, image = squash.read(file, (manifest.DESCRIPTION, manifest.IMAGE))
    try:
        return manifest.decode(description, image)
    except ValueError as error:
        raise squash.not_ours(file, str(error)) from error


def misfit(
    found: manifest.Manifest, image: manifest.Image, *, is_any_image: bool
) -> Iterator[Problem]:
    """What keeps packages from running on an image, which they were not made for."""
    if is_any_image or found.image.key == image.key:
        return
    different = manifest.differences(found.image, image)
    named = "; ".join(different[:_MAX_NAMED])
    more = len(different) - _MAX_NAMED
    yield Problem(
        "packages-incompatible",
        f"the packages were made for {found.image.name}, and this image is"
        f" {image.name}: {named}{f'; and {more} more' if more > 0 else ''}",
        "make them again on this image: jax-sif env freeze OLD.sqsh > mine.txt; jax-sif"
        f" env create NEW.sqsh -r mine.txt; or try them as they are: {ANY_IMAGE_VARIABLE}=1",
    )


def unmet(file: Path) -> list[str]:
    """What pip finds wrong with them on this image, as `netket 3.23 requires ...`."""
    with tempfile.TemporaryDirectory(prefix="jax-sif-env-") as scratch:
        folder = Path(scratch, "root")
        squash.extract(file, folder, _FACTS)
        places = [str(place) for place in folder.glob("lib/*/site-packages")]
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "check"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    if not done.returncode:
        return []
    return (done.stdout + done.stderr).strip().splitlines()
