"""Times `jax-sif job`, with the container's start, and `import jaxsif`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

TOOL = Path(__file__).resolve().parent.parent / "bin/jax-sif"

# The interpreter's own start is everybody's.
IMPORT = (
    "import time; start = time.perf_counter(); import jaxsif;"
    " print(1000 * (time.perf_counter() - start))"
)


def main(image: str, trials: int) -> None:
    """Prints seconds and milliseconds, all samples and their medians, as JSON."""
    os.environ["JAX_IMAGE"] = image
    script = [str(TOOL), "job", "G8N2p8", "train.py", "--epochs", "3"]
    container = ["apptainer", "exec", image, "true"]
    # The first of each finds nothing in the page cache.
    seconds: dict[str, list[float]] = {"script": [], "container": []}
    for trial in range(trials + 1):
        for name, command in (("script", script), ("container", container)):
            taken = timed(command)
            if trial:
                seconds[name].append(taken)
    python = ["apptainer", "exec", image, "python", "-c", IMPORT]
    imports = [float(output(python)) for _ in range(trials)]
    result = {
        "seconds": seconds,
        "medians": {name: statistics.median(s) for name, s in seconds.items()},
        "import_ms": imports,
        "import_median_ms": statistics.median(imports),
    }
    print(json.dumps(result, indent=1))


def timed(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
