"""The command line of jax-sif; runs in the container, on a login node or beside a job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from jaxsif.commands import COMMANDS
from jaxsif.core.errors import COULD_NOT_TELL, PASS, KitError, UsageError

# Their exit status is valid even if their output is not read.
_JUDGES = ("verify", "check", "doctor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; every error ends here, as one line and an exit status.

    Args:
      arguments: those of the process, if None; its streams and its end by Ctrl-C are
        then this function's as well.
    """
    if arguments is not None:
        return _answer(list(arguments))
    from jaxsif.core.streams import Streams

    streams = Streams()
    words = sys.argv[1:]
    try:
        status = _answer(words)
    except KeyboardInterrupt:
        streams.finish()
        # A shell ends its loop for a program that SIGINT ended, not for a status.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        return 128 + signal.SIGINT
    except SystemExit as ended:
        # argparse leaves by itself.
        status = ended.code if isinstance(ended.code, int) else UsageError.exit_status
    except Exception as error:
        status = _own_fault(error)
    is_complete = streams.finish()
    if status == PASS and not is_complete and words[0] not in _JUDGES:
        return KitError.exit_status
    return status


def _answer(words: list[str]) -> int:
    try:
        return _run(words)
    except KitError as error:
        print(f"jax-sif: {error}", file=sys.stderr)
        return error.exit_status


def _own_fault(error: Exception) -> int:
    """A mistake in the kit proves nothing, neither well nor ill."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    print(
        f"jax-sif: an error of its own, {text} ({place}); please report it, with the"
        " traceback that JAX_SIF_VERBOSE=1 shows",
        file=sys.stderr,
    )
    if os.environ.get("JAX_SIF_VERBOSE") == "1":
        traceback.print_exception(error)
    return COULD_NOT_TELL


def _run(words: list[str]) -> int:
    if words[:1] == ["help"] and words[1:]:
        words = [*words[1:], "--help"]
    if words and words[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if words and words[0] == "--version":
        from jaxsif.core.image import version_text

        print(version_text())
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
    rows = [f"  {name:<{width}}  {action}" for name, action in COMMANDS.items()]
    return "\n".join(
        [
            "usage: jax-sif COMMAND ...",
            "",
            "JAX on a GPU cluster, and proof that it works.",
            "",
            *rows,
            "",
            "jax-sif help COMMAND shows its options, jax-sif --version the versions.",
        ]
    )


def _unknown(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"no command {name!r}; {hint}the commands are {', '.join(COMMANDS)}"
