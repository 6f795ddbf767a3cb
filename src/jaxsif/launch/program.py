"""The command line of a rank: the program, by an interpreter where it needs one, through the entry; on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxsif.core.errors import KitError

# What `singularity run` passes through, too.
ENTRY = Path(__file__).resolve().parent.parent / "entry"

Which = Callable[[str], str | None]


class ProgramNotFound(KitError):
    """There is no such program; said before any rank starts, with a shell's status."""

    exit_status = 127


def command(words: Sequence[str], which: Which = shutil.which) -> list[str]:
    """The words of a rank's process. Raises ProgramNotFound.

    A program that ends in .py is run with the Python on PATH, as in the image.
    """
    program = words[0]
    if program.endswith(".py"):
        return _through_entry([_python(program, which), *words])
    if which(program) is None:
        raise ProgramNotFound(
            f"cannot run {program!r}: no such program on PATH, or not executable; for a"
            " Python program say: python PROGRAM.py"
        )
    return _through_entry(words)


def _python(program: str, which: Which) -> str:
    if not Path(program).is_file():
        raise ProgramNotFound(
            f"cannot run {program!r}: there is no such file in {str(Path.cwd())!r}; in a"
            " container only what is mounted can be seen"
        )
    for name in ("python", "python3"):
        if which(name):
            return name
    raise ProgramNotFound(
        f"cannot run {program!r}: neither python nor python3 is on PATH; activate an"
        " environment, or name an interpreter before the program"
    )


def _through_entry(words: Sequence[str]) -> list[str]:
    # By name: a file from a package need not be executable.
    return ["/bin/sh", str(ENTRY), *words]
