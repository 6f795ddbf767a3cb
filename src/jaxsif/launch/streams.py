"""The outputs of all ranks, from their pipes to their logs and to our own outputs; on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jaxsif.core.errors import KitError
from jaxsif.core.records import NO_KEY, launcher_line
from jaxsif.launch.loop import READ, WRITE, Loop
from jaxsif.launch.output import Relay, Sink, label
from jaxsif.launch.plan import Place

_PIECE_BYTES = 1 << 16
_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True)
class Style:
    """How output is shown. `is_labelled`: None leaves it to whether a terminal shows it.

    `width` is that of the greatest rank; the rest is what a terminal can and may show.
    """

    width: int = 1
    is_labelled: bool | None = None
    is_able: bool = False
    may_colour: bool = False

    def label(self, descriptor: int, place: Place) -> bytes:
        """What stands before each line of a rank on this output; nothing, or a label."""
        is_terminal = os.isatty(descriptor)
        is_labelled = is_terminal if self.is_labelled is None else self.is_labelled
        if not is_labelled:
            return b""
        is_able = is_terminal and self.is_able
        has_colour = is_able and self.may_colour
        return label(place.rank, place.node, self.width, is_able, has_colour)


def style(
    processes: int, is_labelled: bool | None, environment: Mapping[str, str]
) -> Style:
    """By what was asked for, and NO_COLOR (no-color.org) and TERM."""
    is_able = environment.get("TERM", "dumb") != "dumb"
    may_colour = not environment.get("NO_COLOR")
    return Style(len(str(processes - 1)), is_labelled, is_able, may_colour)


class Streams:
    """Everything that the ranks print. Where nobody reads, nothing more is taken.

    Where our two outputs are one, as on a terminal and with `|&`, a rank has one pipe for
    both of its own, so that they stay in order; otherwise two.
    """

    def __init__(
        self,
        loop: Loop,
        logs: Path | None,
        style: Style,
        on_reader_gone: Callable[[OSError], None],
        record_key: str = NO_KEY,
    ) -> None:
        """`logs`: the folder for a file per rank. Raises KitError when it cannot be."""
        self._loop = loop
        self._logs = logs
        self._style = style
        self._on_reader_gone = on_reader_gone
        self._is_one = os.path.sameopenfile(_STDOUT, _STDERR)
        # A judge may read the pipe, to which what ranks print is no word of the launcher's.
        is_piped = self._is_one and stat.S_ISFIFO(os.fstat(_STDERR).st_mode)
        self._mark = launcher_line("", record_key) if is_piped else ""
        self._out = Sink(_STDOUT)
        self._err = self._out if self._is_one else Sink(_STDERR)
        # Read ends -> what to do when they can be read.
        self._open: dict[int, Callable[[], None]] = {}
        self._log_files: list[int] = []
        if logs is not None:
            _make(logs)

    @property
    def is_open(self) -> bool:
        """Whether any rank may still print."""
        return bool(self._open)

    @property
    def is_written(self) -> bool:
        return self._out.is_empty and self._err.is_empty

    def log_of(self, place: Place) -> Path | None:
        if self._logs is None:
            return None
        return self._logs / f"rank-{place.rank}-{place.node}.log"

    def open(self, place: Place) -> tuple[int, int]:
        """Ends for a rank's standard output and error, to be closed by the caller.

        They are one descriptor where both outputs are one.
        """
        log = self._open_log(place)
        output = self._pipe(self._out, _STDOUT, place, log)
        return output, output if self._is_one else self._pipe(
            self._err, _STDERR, place, log
        )

    def say(self, text: str) -> None:
        """A line of the launcher's own."""
        lines = "".join(f"{self._mark}{line}\n" for line in text.splitlines())
        self._err.put(self, lines.encode())

    def pump(self) -> None:
        """After each turn of the loop: writes what waits, or lets the ranks wait."""
        for sink in (self._out, self._err):
            if sink.is_empty:
                self._loop.forget(sink.descriptor)
            else:
                self._loop.watch(sink.descriptor, WRITE, partial(self._write, sink))
        is_full = self._out.is_full or self._err.is_full
        for descriptor, read in self._open.items():
            if is_full:
                self._loop.forget(descriptor)
            else:
                self._loop.watch(descriptor, READ, read)

    def complete(self) -> None:
        """All has been said by the ranks; people's lines are not left unfinished."""
        if self._style.label(_STDOUT, Place(0, 0, 0)):
            self._out.complete_line()

    def give_up(self) -> None:
        """Nobody waits for the rest."""
        self._out.give_up()
        self._err.give_up()

    def close(self) -> None:
        for descriptor in [*self._open, *self._log_files]:
            self._loop.forget(descriptor)
            os.close(descriptor)
        self._open.clear()
        self._log_files.clear()

    def _open_log(self, place: Place) -> int | None:
        path = self.log_of(place)
        if path is None:
            return None
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise _no_log(path, error) from error
        self._log_files.append(file)
        return file

    def _pipe(self, sink: Sink, descriptor: int, place: Place, log: int | None) -> int:
        is_terminal = os.isatty(descriptor)
        relay = Relay(sink, self._style.label(descriptor, place), is_terminal)
        read_end, write_end = os.pipe()
        self._open[read_end] = partial(self._read, read_end, relay, place, log)
        return write_end

    def _read(self, read_end: int, relay: Relay, place: Place, log: int | None) -> None:
        piece = os.read(read_end, _PIECE_BYTES)
        if log is not None:
            self._write_log(log, piece, place)
        if piece:
            relay.feed(piece)
            return
        relay.close()
        self._loop.forget(read_end)
        del self._open[read_end]
        os.close(read_end)

    def _write_log(self, log: int, piece: bytes, place: Place) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(log, rest) :]
        except OSError as error:
            path = self.log_of(place)
            raise KitError(
                f"cannot write the log {str(path)!r}: {error.strerror}; the ranks were"
                " ended, choose another folder with --logs"
            ) from error

    def _write(self, sink: Sink) -> None:
        try:
            sink.write_some()
        except OSError as error:
            sink.give_up()
            if sink is self._out:
                self._on_reader_gone(error)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_log(folder, error) from error


def _no_log(path: Path, error: OSError) -> KitError:
    return KitError(
        f"cannot write logs to {str(path)!r}: {error.strerror}; choose another folder"
        " with --logs"
    )
