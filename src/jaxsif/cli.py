"""The command line of jax-sif: in the container, on a login node or beside a job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import importlib
import io
import os
import select
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import TextIO

from jaxsif.commands import COMMANDS
from jaxsif.core.errors import COULD_NOT_TELL, PASS, KitError, UsageError

_NAMES = {1: "standard output", 2: "standard error"}


class Output(io.RawIOBase):
    """A descriptor to write to. After an error all is discarded, and `error` set.

    Where the descriptor does not block (a terminal or pipe that it shares with another
    program may be so), it waits until there is room.
    """

    def __init__(self, descriptor: int, *, was_closed: bool) -> None:
        self._descriptor = descriptor
        self._was_closed = was_closed
        self.error: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]
        """Writes all of it, or nothing any more."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        if self._was_closed and size:
            self.error = self.error or OSError(errno.EBADF, os.strerror(errno.EBADF))
        while rest and self.error is None:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])
            except OSError as error:
                self.error = error
        return size


class Streams:
    """Replaces `sys.stdin`, `sys.stdout` and `sys.stderr`."""

    def __init__(self) -> None:
        closed = _open_the_closed()
        self.out = Output(1, was_closed=1 in closed)
        self._err = Output(2, was_closed=2 in closed)
        if sys.stdin is None:
            sys.stdin = open(0)  # noqa: SIM115  (as long as the process)
        sys.stdout = _text(self.out, sys.stdout)
        sys.stderr = _text(self._err, sys.stderr)

    def finish(self) -> bool:
        """Flush the output; print an error and return False if output was lost."""
        sys.stdout.flush()
        error = self.out.error
        # Who closes a pipe, as `| head` does, has read enough.
        if error is not None and error.errno != errno.EPIPE:
            print(
                f"jax-sif: cannot write to {_NAMES[1]}: {error.strerror}",
                file=sys.stderr,
            )
        sys.stderr.flush()
        return error is None


def _open_the_closed() -> set[int]:
    """Open /dev/null for closed descriptors, which the next file would get."""
    closed = set()
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            closed.add(descriptor)
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, descriptor)
            if opened != descriptor:
                os.close(opened)
    return closed


def _text(output: Output, before: TextIO | None) -> TextIO:
    """What cannot be encoded, as the name of a file, is escaped and does not raise."""
    return io.TextIOWrapper(
        io.BufferedWriter(output),  # type: ignore[type-var]
        encoding=before.encoding if before else "utf-8",
        errors="backslashreplace",
        line_buffering=output.isatty() or output.fileno() == 2,
    )


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
    from jaxsif.cli import Streams

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
    """An error in the kit itself proves nothing about the job."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    print(
        f"jax-sif: internal error: {text} ({place}); please report it, with the"
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
