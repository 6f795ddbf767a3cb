"""Installs an image, the module, its programs and the jobs: `make install`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import filecmp
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import build_run
import placing
from build_run import BuildError
from versions import CHECKOUT, UsageError, check_accelerator

import modulefiles

# What the installed tree has besides the image and the module. diag/ is in the image
# too; on the disk it can be read and copied.
FOLDERS = ("bin", "diag", "examples", "jobs")
FILES = ("LICENSE", "README.md")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("--accel", required=True, help="cuda12, cuda13 or cpu")
    parser.add_argument("--prefix", required=True, type=Path, help="where to")
    options = parser.parse_args()
    return build_run.run_tool(
        "install.py", lambda: install(options.accel, options.prefix.absolute())
    )


def install(accel: str, prefix: Path) -> None:
    """Adds one image to an installed tree; images that are there already stay."""
    check_accelerator(accel)
    image = build_run.find_image(accel, CHECKOUT / "build")
    # A private umask would leave a centre with a tree that only its installer can read.
    os.umask(0o022)
    try:
        with placing.one_at_a_time(placing.lock_file(image), f"works on {image}"):
            copy_all(image, prefix)
        install_module(accel, prefix / "modulefiles" / modulefiles.NAME)
    except OSError as error:
        raise BuildError(
            f"cannot write to {str(error.filename2 or error.filename or prefix)!r}:"
            f" {error.strerror}; name a folder that you may write to and that has room:"
            " make install PREFIX=..."
        ) from error
    report(accel, prefix)


def copy_all(image: Path, prefix: Path) -> None:
    """Copy the image first: what refers to it must not exist without it."""
    key, images = build_run.key_file(image), prefix / "images"
    if key.exists():
        copy(key, images / key.name)
    elif (images / key.name).exists():
        raise UsageError(
            f"the image in {str(images)!r} is signed, and {image} is not: sign it (make"
            f" sign KEY=...), or remove {str(images / key.name)!r} and install again"
        )
    for source in (image, build_run.facts_file(image)):
        copy(source, images / source.name)
    for folder in FOLDERS:
        for source in sorted((CHECKOUT / folder).iterdir()):
            if source.is_file():
                copy(source, prefix / folder / source.name)
    for name in FILES:
        copy(CHECKOUT / name, prefix / name)


def install_module(accel: str, folder: Path) -> None:
    source = CHECKOUT / "modulefiles" / modulefiles.NAME / modulefiles.BODY
    copy(source, folder / modulefiles.BODY)
    version = modulefiles.module_version(accel)
    # Keep the centre's choice; without one, the first image is the default.
    if not (folder / modulefiles.MODULERC).exists():
        modulefiles.set_default(folder, version)
    modulefiles.add_version(folder, version)


def copy(source: Path, target: Path) -> None:
    """Copy a file atomically, and only if it differs: jobs may be using the old one."""
    mode = 0o755 if os.access(source, os.X_OK) else 0o644
    if target.is_file() and filecmp.cmp(source, target, shallow=False):
        if stat.S_IMODE(target.stat().st_mode) != mode:
            target.chmod(mode)
        return
    check_space(source, target)
    target.parent.mkdir(parents=True, exist_ok=True)
    placing.copy(source, target, mode)


def check_space(source: Path, target: Path) -> None:
    """Check before writing, so that an older target is kept. Raises BuildError."""
    folder = next(path for path in target.parents if path.exists())
    build_run.check_room(source, folder, "make install PREFIX=...")


def report(accel: str, prefix: Path) -> None:
    module = f"{modulefiles.NAME}/{modulefiles.module_version(accel)}"
    print(f"installed {module} in {prefix}; for every user, on every node:")
    print(f"  module use '{prefix / 'modulefiles'}'")
    print(f"  module load {module}")
    print("the default version is set in the file")
    print(f"  {modulefiles.NAME}/{modulefiles.MODULERC} (yours: an install keeps it)")
    for folder in closed_folders(prefix):
        print(f"but others may not enter {folder}: chmod a+rx '{folder}'")


def closed_folders(prefix: Path) -> Iterator[Path]:
    """The folders up to the tree that other users cannot enter."""
    for folder in (*reversed(prefix.parents), prefix):
        if not stat.S_IMODE(folder.stat().st_mode) & stat.S_IXOTH:
            yield folder


if __name__ == "__main__":
    sys.exit(main())
