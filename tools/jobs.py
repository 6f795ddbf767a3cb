"""Writes the job scripts of all profiles and examples: `make jobs`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from versions import CHECKOUT

from jaxsif.commands import job
from jaxsif.job.build import render_job
from jaxsif.job.configs import entries
from jaxsif.job.request import JobOptions
from jaxsif.job.schema import Profile

FOLDER = CHECKOUT / "jobs"
EXAMPLES = CHECKOUT / "examples"

# example -> the arguments of `jax-sif job`
EXAMPLE_ARGS = {
    "arrays": "G8N2p8 examples/arrays.py",
    "multi_gpu": "G4N1p1 examples/multi_gpu.py",
    "svgd": "G8N2p8 examples/svgd.py --posterior regression --compare"
    " --save particles.npy",
    "train": "G8N2p8 --packages my.sqsh --time 1:00:00 --signal URG@120 --requeue"
    " examples/train.py",
    "vmc_netket": "G8N2p8 --packages my.sqsh examples/vmc_netket.py",
}


def scripts() -> dict[str, str]:
    """The text of each script by name, independent of this machine and user."""
    return {
        f"{entry.name}.slurm": render_job(
            [entry.name],
            JobOptions(command_line=f"jax-sif job {entry.name}"),
            environment={},
        )
        for entry in entries(Profile, {})
    }


def example_scripts() -> dict[str, str]:
    """The same for the examples; to be submitted from the folder above them."""
    found = {}
    for name, text in EXAMPLE_ARGS.items():
        chosen, words = job.read(job.parser(), text.split())
        options = job.options(chosen, command_line=f"jax-sif job {text}")
        found[f"{name}.slurm"] = render_job(words, options, environment={})
    return found


def main() -> None:
    for folder, texts in ((FOLDER, scripts()), (EXAMPLES, example_scripts())):
        for name, text in texts.items():
            path = folder / name
            is_new = not path.exists() or path.read_text() != text
            if is_new:
                path.write_text(text)
            shown = "written" if is_new else "unchanged"
            print(f"{folder.name}/{name}: {shown}")


if __name__ == "__main__":
    main()
