"""`make install`: puts an image, the module, its programs and the jobs where a whole centre finds them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path

from versions import CHECKOUT, UsageError, check_accelerator, image_name

import modulefiles

# What the installed tree has besides the image and the module.
FOLDERS = ("bin", "jobs", "diag")
FILES = ("LICENSE", "README.md")


def main() -> int:
    """Installs, or says in one line why not."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accel", required=True, help="cuda12, cuda13 or cpu")
    parser.add_argument("--prefix", required=True, type=Path, help="where to")
    arguments = parser.parse_args()
    try:
        install(check_accelerator(arguments.accel), arguments.prefix.absolute())
    except UsageError as error:
        print(f"install: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"install: cannot write {error.filename!r}: {error.strerror}; choose a"
            " PREFIX that you may write to, with enough space: make install PREFIX=...",
            file=sys.stderr,
        )
        return 1
    return 0


def install(accel: str, prefix: Path) -> None:
    """Adds one image to an installed tree; images that are there already stay."""
    image = CHECKOUT / "build" / f"{image_name(accel)}.sif"
    if not image.is_file():
        raise UsageError(
            f"there is no image {image}; build it first: make build-image ACCEL={accel}"
        )
    # A private umask would leave a centre with a tree that only its installer can read.
    os.umask(0o022)
    (prefix / "images").mkdir(parents=True, exist_ok=True)
    for source in (image, image.with_name(f"{image.name}.json")):
        _replace(source, prefix / "images" / source.name)
    for folder in FOLDERS:
        for source in sorted((CHECKOUT / folder).iterdir()):
            if source.is_file():
                _replace(source, prefix / folder / source.name)
    for name in FILES:
        _replace(CHECKOUT / name, prefix / name)
    _install_module(accel, prefix / "modulefiles" / modulefiles.NAME)
    print(f"installed {image_name(accel)} in {prefix}; on every node, for every user:")
    print(f"  module use {prefix / 'modulefiles'}")
    print(f"  module load jax-sif/{modulefiles.module_version(accel)}")


def _install_module(accel: str, folder: Path) -> None:
    source = CHECKOUT / "modulefiles" / modulefiles.NAME / modulefiles.BODY
    _replace(source, folder / modulefiles.BODY)
    modulefiles.add_version(folder, modulefiles.module_version(accel))
    # The site's choice stays; without one, the first image is what people get.
    if not (folder / ".modulerc.lua").exists():
        modulefiles.set_default(folder, modulefiles.module_version(accel))


def _replace(source: Path, target: Path) -> None:
    """Copies a file in one piece: jobs that read the old one are not disturbed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.new")
    try:
        shutil.copyfile(source, temporary)
        executable = os.access(source, os.X_OK)
        temporary.chmod(0o755 if executable else 0o644)
        temporary.replace(target)
    finally:
        if temporary.exists():
            temporary.unlink()


if __name__ == "__main__":
    sys.exit(main())
