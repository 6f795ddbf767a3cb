"""Times `import jax` in the image and from plain disk; in the mini cluster's toolbox."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

PROGRAM = ["python", "-c", "import jax"]


def main() -> None:
    """Prints JSON: seconds of each trial, and the ratios of the medians."""
    image, trials = Path(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        tree = unpack(image, Path(folder))
        ways = {
            "container": ["apptainer", "exec", str(image), *PROGRAM],
            "plain disk": [
                "chroot",
                str(tree),
                "/opt/jax/bin/" + PROGRAM[0],
                *PROGRAM[1:],
            ],
            "container, nothing in it": ["apptainer", "exec", str(image), "true"],
        }
        result = {
            "warm": measure(ways, trials, lambda: None),
            "cold": measure(ways, trials, lambda: forget([image, *files_of(tree)])),
        }
    print(json.dumps(result))


def unpack(image: Path, folder: Path) -> Path:
    """The image's file system as a folder on disk."""
    archive, tree = folder / "fs.squashfs", folder / "tree"
    listing = run(["apptainer", "sif", "list", str(image)])
    number = next(x.split("|")[0] for x in listing.splitlines() if "Squashfs" in x)
    with archive.open("wb") as file:
        command = ["apptainer", "sif", "dump", number.strip(), str(image)]
        subprocess.run(command, stdout=file, check=True)
    run(["unsquashfs", "-quiet", "-no-progress", "-d", str(tree), str(archive)])
    archive.unlink()
    return tree


def measure(ways: dict, trials: int, prepare) -> dict:
    """In turn, so that a machine that slows down slows all ways down."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for trial in range(trials + 1):
        for name, command in ways.items():
            prepare()
            began_s = time.perf_counter()
            run(command)
            # The first round fills caches and does not count.
            if trial:
                seconds[name].append(round(time.perf_counter() - began_s, 4))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = medians["container"] / medians["plain disk"]
    return {"seconds": seconds, "medians": medians, "ratio": round(ratio, 3)}


def files_of(tree: Path) -> list[Path]:
    return [p for p in tree.rglob("*") if p.is_file() and not p.is_symlink()]


def forget(paths: Iterable[Path]) -> None:
    """Drops the files' contents from the page cache; needs no privilege."""
    os.sync()
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def run(command: list[str]) -> str:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


if __name__ == "__main__":
    main()
