"""Writes the version files and the default of the jax-sif module; used by tools/."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import placing
from versions import ACCELERATORS, CHECKOUT, DEFAULT_ACCELERATOR, jax_version

NAME = "jax-sif"
BODY = ".generic.lua"
MODULERC = ".modulerc.lua"


def module_version(accel: str) -> str:
    """The module's version for an image: <jax version>-<accel>."""
    return f"{jax_version(accel)}-{accel}"


def write_all(folder: Path = CHECKOUT / "modulefiles" / NAME) -> None:
    """One version for each lock; older ones of this checkout go."""
    for path in folder.glob("*.lua"):
        if path.is_symlink():
            path.unlink()
    for accel in ACCELERATORS:
        add_version(folder, module_version(accel))
    set_default(folder, module_version(DEFAULT_ACCELERATOR))


def add_version(folder: Path, version: str) -> None:
    """Makes `module load jax-sif/<version>` known; a site's own file for it stays."""
    link = folder / f"{version}.lua"
    # Another install may have been as fast.
    with suppress(FileExistsError):
        link.symlink_to(BODY)


def set_default(folder: Path, version: str) -> None:
    """What `module load jax-sif` loads. The file is replaced in one piece."""
    text = (
        f"-- What `module load {NAME}` loads; written by the tools of the kit, read"
        " by Lmod.\n-- SPDX-License-Identifier: Apache-2.0\n"
        f'module_version("{NAME}/{version}", "default")\n'
    )
    placing.put(folder / MODULERC, 0o644, lambda hidden: hidden.write_text(text))
