"""The command line of a rank: the program, run by the entry."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxsif.core.errors import KitError

# The entry point of the image as well.
ENTRY = Path(__file__).resolve().parent.parent / "entry"

Which = Callable[[str], str | None]


class ProgramNotFound(KitError):
    """The program does not exist. Has the exit status of a shell."""

    exit_status = 127


def command(args: Sequence[str], which: Which = shutil.which) -> list[str]:
    """The command line of a rank. Raises ProgramNotFound.

    Programs ending in .py are run with the Python on PATH, as in the image.
    """
    program = args[0]
    if program.endswith(".py"):
        return _through_entry([_python(program, which), *args])
    if which(program) is None:
        raise ProgramNotFound(
            f"cannot run {program!r}: no such program on PATH, or not executable; for a"
            " Python program: python PROGRAM.py"
        )
    return _through_entry(args)


def _python(program: str, which: Which) -> str:
    if not Path(program).is_file():
        raise ProgramNotFound(
            f"cannot run {program!r}: no such file in {str(Path.cwd())!r}; a container sees"
            " mounted folders only"
        )
    for name in ("python", "python3"):
        if which(name):
            return name
    raise ProgramNotFound(
        f"cannot run {program!r}: neither python nor python3 is on PATH; activate an"
        " environment, or name an interpreter before the program"
    )


def _through_entry(args: Sequence[str]) -> list[str]:
    # With an explicit shell, since files of a package may not be executable.
    return ["/bin/sh", str(ENTRY), *args]
