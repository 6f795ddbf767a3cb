"""Builds an image twice and compares the bytes: `make reproducible`; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import build_image
import build_run
import versions
from build_run import BuildError
from builder import MINICLUSTER

# Run in the toolbox, which has unsquashfs, and where the files' owners exist: prints a
# line for each file, without its time.
_LISTING = r"""
set -eu
folder=$(mktemp -d)
offset=$(python3 -c 'import sys; print(open(sys.argv[1], "rb").read().find(b"hsqs"))' "$1")
unsquashfs -no-progress -quiet -offset "$offset" -dest "$folder/root" "$1" > /dev/null
cd "$folder/root"
find . ! -type d -printf '%p %M %U:%G %s %l\n'
find . -type d -printf '%p %M %U:%G\n'
find . -type f -exec sha256sum {} + | sed 's/^\([^ ]*\)  \(.*\)/\2 \1/'
rm -rf "$folder"
"""
_SHOWN = 40


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    build_image.add_common_options(parser)
    options = parser.parse_args(arguments)
    return build_run.run_tool("reproducible.py", lambda: check(options))


def check(options: argparse.Namespace) -> None:
    """Raises BuildError with what differs."""
    accel = versions.check_accelerator(options.accel)
    build_image.check_base(options.base)
    folder = options.output.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".reproducible-") as name:
        # The builder, who may be another user, goes through it.
        os.chmod(name, 0o755)
        one, other = (build(options, Path(name, part)) for part in ("one", "other"))
        digests = [build_image.digest(image) for image in (one, other)]
        if digests[0] != digests[1]:
            raise BuildError(report(one, other))
        print(f"{one.name}: built twice, both times {digests[0]} ({accel})")


def build(options: argparse.Namespace, folder: Path) -> Path:
    words = [f"--accel={options.accel}", f"--base={options.base}", f"--output={folder}"]
    words += [f"--ca-bundle={options.ca_bundle}"] if options.ca_bundle else []
    tool = str(versions.CHECKOUT / "tools/build_image.py")
    if subprocess.run([sys.executable, tool, "--force", *words]).returncode:
        raise BuildError("the image was not built (message above)")
    return folder / f"{versions.image_name(options.accel)}.sif"


def report(one: Path, other: Path) -> str:
    different = sorted(listing(one) ^ listing(other))
    if not different:
        return (
            "the same files in both, but the images differ: in times, or in the header"
        )
    more = len(different) - _SHOWN
    tail = [f"and {more} more lines"] if more > 0 else []
    return "\n".join(["the two builds differ in:", *different[:_SHOWN], *tail])


def listing(image: Path) -> set[str]:
    command = [str(MINICLUSTER), "toolbox", f"--bind={image.parent}", "--"]
    command += ["sh", "-c", _LISTING, "sh", str(image)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BuildError(f"cannot look into {image} (message above)")
    return set(done.stdout.splitlines())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
