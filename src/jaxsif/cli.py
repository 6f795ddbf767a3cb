"""The command line of jax-sif; runs in the container, on a login node or beside a job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from jaxsif.commands import COMMANDS
from jaxsif.contract.errors import KitError, UsageError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; every error ends here, as one line and an exit status."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        return _run(words)
    except KitError as error:
        print(f"jax-sif: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): nobody can be told anything.
        sys.stderr.close()
        return KitError.exit_status


def _run(words: list[str]) -> int:
    if words and words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if not words:
        print(_help(), file=sys.stderr)
        return UsageError.exit_status
    name, *rest = words
    if name not in COMMANDS:
        raise UsageError(_unknown(name))
    # Only its own: in a container every module that is opened takes a millisecond.
    command = importlib.import_module(f"jaxsif.commands.{name}")
    status: int = command.main(rest)
    return status


def _help() -> str:
    width = max(map(len, COMMANDS))
    rows = [f"  {name:<{width}}  {deed}" for name, deed in COMMANDS.items()]
    return "\n".join(
        [
            "usage: jax-sif COMMAND ...",
            "",
            "JAX on a GPU cluster, and proof that it works.",
            "",
            *rows,
            "",
            "jax-sif COMMAND --help tells more.",
        ]
    )


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"no command {name!r}; there are {', '.join(COMMANDS)}{hint}"
