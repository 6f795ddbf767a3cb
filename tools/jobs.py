"""Writes a ready job script into jobs/ for every profile that the kit ships: `make jobs`; on any machine."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from versions import CHECKOUT

from jaxsif.job.library import entries
from jaxsif.job.make import Options, make
from jaxsif.job.schema import Profile

FOLDER = CHECKOUT / "jobs"


def scripts() -> dict[str, str]:
    """The text of each script by its name. Nothing of this machine or user gets in."""
    return {
        f"{entry.name}.slurm": make(
            [entry.name], Options(made_by=f"jax-sif job {entry.name}"), environment={}
        )
        for entry in entries(Profile, {})
    }


def main() -> None:
    for name, text in scripts().items():
        path = FOLDER / name
        is_new = not path.exists() or path.read_text() != text
        if is_new:
            path.write_text(text)
        print(f"jobs/{name}: {'written' if is_new else 'unchanged'}")


if __name__ == "__main__":
    main()
