"""Checks whether an overlay of packages fits an image."""
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

# The requirements of a package, and the platform it was built for.
_FACTS = (
    "lib/*/site-packages/*.dist-info/METADATA",
    "lib/*/site-packages/*.dist-info/WHEEL",
)
_MAX_NAMED = 5


def read(file: Path) -> manifest.Manifest:
    """The manifest of the file. Raises UsageError or KitError."""
    description, image = squash.read(file, (manifest.DESCRIPTION, manifest.IMAGE))
    try:
        return manifest.decode(description, image)
    except ValueError as error:
        raise squash.foreign_file_error(file, str(error)) from error


def incompatibilities(
    found: manifest.Manifest, image: manifest.Image, *, is_any_image: bool
) -> Iterator[Problem]:
    """Why packages that were made for a different image may not work on this one."""
    if is_any_image or found.image.key == image.key:
        return
    different = manifest.differences(found.image, image)
    named = "; ".join(different[:_MAX_NAMED])
    more = len(different) - _MAX_NAMED
    yield Problem(
        "packages-incompatible",
        f"the packages were made for {found.image.name}, but this image is"
        f" {image.name}: {named}{f'; and {more} more' if more > 0 else ''}",
        "create them again on this image: jax-sif env freeze OLD.sqsh > mine.txt; jax-sif"
        f" env create NEW.sqsh -r mine.txt; or use them anyway: {ANY_IMAGE_VARIABLE}=1",
    )


def unmet_requirements(file: Path) -> list[str]:
    """The output of `pip check` on this image, for example `netket 3.23 requires ...`."""
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
