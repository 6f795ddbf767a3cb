"""Time imports from a file of `jax-sif packages` and from a folder of the same."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from start import forget

ROOT = Path(__file__).resolve().parent.parent
PLACE = "/opt/jax-sif/env"
# Seconds of the import alone, as the program itself sees them.
PROGRAM = (
    "import time; began_s = time.perf_counter(); import {module};"
    " print(time.perf_counter() - began_s)"
)


def main() -> int:
    """Starts itself again in the toolbox, where Apptainer is, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=9)
    parser.add_argument("--package", default="netket", help="and module: %(default)s")
    parser.add_argument("--inside", metavar="IMAGE", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.inside:
        print(json.dumps(measure_all(chosen.inside, chosen.package, chosen.trials)))
        return 0
    sys.path.insert(0, str(ROOT / "tools"))
    import versions

    image = ROOT / "build" / f"{versions.image_name('cpu')}.sif"
    words = (ROOT / "minicluster/minicluster", "toolbox", "--", "python3", __file__)
    words = (*words, f"--inside={image}", f"--trials={chosen.trials}")
    words = (*words, f"--package={chosen.package}")
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode:
        return done.returncode
    (ROOT / "build/env.json").write_text(done.stdout)
    print("\n".join(table(json.loads(done.stdout))))
    return 0


def measure_all(image: str, package: str, trials: int) -> dict:
    """The file's making, its size, and the import from it and from a folder."""
    with tempfile.TemporaryDirectory() as scratch:
        file, folder = Path(scratch, "own.sqsh"), Path(scratch, "own")
        began_s = time.perf_counter()
        create(image, file, package)
        made_s = time.perf_counter() - began_s
        subprocess.run(
            ["unsquashfs", "-quiet", "-no-progress", "-d", str(folder), str(file)],
            check=True,
            stdout=sys.stderr,
        )
        ways = {
            "file": f"{file}:{PLACE}:image-src=/,ro",
            "folder": f"{folder}:{PLACE}:ro",
        }
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {
            "package": package,
            "made_s": round(made_s, 1),
            "mb": round(file.stat().st_size / 1e6, 1),
            "files": len(files),
            "warm": measure(image, ways, package, trials, []),
            "cold": measure(image, ways, package, trials, [file, *files]),
        }


def create(image: str, file: Path, package: str) -> None:
    environment = {
        **os.environ,
        "JAX_IMAGE": image,
        # The toolbox has the host's certificates there.
        "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt",
    }
    words = [str(ROOT / "bin/jax-sif"), "packages", "create", str(file), package]
    subprocess.run(words, env=environment, check=True, stdout=sys.stderr)


def measure(
    image: str, ways: dict[str, str], module: str, trials: int, forgotten: list[Path]
) -> dict:
    """In turn, so that a machine that slows down slows both ways down.

    Seconds of the import as its process sees it, and from the container's start to its
    end.
    """
    imports: dict[str, list[float]] = {name: [] for name in ways}
    starts: dict[str, list[float]] = {name: [] for name in ways}
    for trial in range(trials + 1):
        for name, bind in ways.items():
            if forgotten:
                forget(forgotten)
            program = ("python", "-c", PROGRAM.format(module=module))
            began_s = time.perf_counter()
            output = run(["apptainer", "-q", "exec", "--bind", bind, image, *program])
            # The first round fills caches and does not count.
            if trial:
                starts[name].append(round(time.perf_counter() - began_s, 4))
                imports[name].append(round(float(output), 4))
    return {"import": compare(imports), "start": compare(starts)}


def compare(seconds: dict[str, list[float]]) -> dict:
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = round(medians["file"] / medians["folder"], 3)
    return {"seconds": seconds, "medians": medians, "ratio": ratio}


def run(command: list[str]) -> str:
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr}")
    return done.stdout


def table(result: dict) -> list[str]:
    """One line a figure, with what it should reach."""
    rows = [
        f"jax-sif packages create own.sqsh {result['package']}: {result['made_s']} s,"
        f" to reach: 120 s; {result['mb']} MB, {result['files']} files"
    ]
    for state in ("warm", "cold"):
        for what in ("import", "start"):
            found = result[state][what]
            seconds = found["medians"]
            rows.append(
                f"{what}, {state}: file / folder {found['ratio']:.2f}"
                f" ({seconds['file']:.2f} s / {seconds['folder']:.2f} s)"
                + (", to reach: 1.10" if (state, what) == ("warm", "import") else "")
            )
    return rows


if __name__ == "__main__":
    sys.exit(main())
