"""Makes the plain image for comparison; used by the benchmarks, on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import build_image  # noqa: E402  (needs the path above)
import build_run  # noqa: E402  (as above)
import placing  # noqa: E402  (as above)
import versions  # noqa: E402  (as above)
from builder import find_builder  # noqa: E402  (as above)

RECIPE = ROOT / "benchmarks/plain/Singularity.def"
IMAGE = ROOT / "build" / f"plain-{versions.jax_version('cpu')}-cpu.sif"


def make() -> Path:
    """Builds the plain CPU image unless it is there already; returns its path."""
    if IMAGE.is_file() and IMAGE.stat().st_mtime > RECIPE.stat().st_mtime:
        return IMAGE
    options = build_image.parse(["--accel=cpu", "--base=local", "--compression=gzip"])
    builder, runtime = find_builder(), build_image.find_runtime()
    base = build_image.find_base("local")
    with builder.scratch() as scratch:
        build_image.prepare(scratch, builder, options)
        shutil.copy(RECIPE, scratch / "context/plain.def")
        command = build_image.build_command(scratch, builder, runtime, base, options)
        # The same command with the other recipe.
        command[-1] = "plain.def"
        stages = build_run.Stages()
        user = None if runtime.in_toolbox else builder
        build_run.run_stages(command, stages, IMAGE.with_suffix(".log"), user)
        stages.end()
        placing.copy(scratch / "image.sif", IMAGE, 0o644)
    return IMAGE


if __name__ == "__main__":
    print(make())
