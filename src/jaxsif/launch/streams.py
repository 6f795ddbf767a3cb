"""Forwards the output of all ranks to their logs and to the launcher's outputs."""
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
from jaxsif.launch.plan import RankPlacement

_PIECE_BYTES = 1 << 16
_STDOUT, _STDERR = 1, 2


@dataclass(frozen=True)
class Style:
    """How output is shown. `is_labelled`: None means on a terminal only.

    `width` is that of the highest rank; the others are properties of the terminal.
    """

    width: int = 1
    is_labelled: bool | None = None
    can_erase: bool = False
    has_colour: bool = False

    def label(self, descriptor: int, place: RankPlacement) -> bytes:
        """The prefix of each line of a rank on this output; may be empty."""
        is_terminal = os.isatty(descriptor)
        is_labelled = is_terminal if self.is_labelled is None else self.is_labelled
        if not is_labelled:
            return b""
        can_erase = is_terminal and self.can_erase
        has_colour = can_erase and self.has_colour
        return label(place.rank, place.node, self.width, can_erase, has_colour)


def style(
    processes: int, is_labelled: bool | None, environment: Mapping[str, str]
) -> Style:
    """The style from the options, NO_COLOR (no-color.org) and TERM."""
    can_erase = environment.get("TERM", "dumb") != "dumb"
    has_colour = not environment.get("NO_COLOR")
    return Style(len(str(processes - 1)), is_labelled, can_erase, has_colour)


class Streams:
    """The output of all ranks. Reading pauses while the launcher's reader is slow.

    If standard output and error are the same file, as on a terminal and with `|&`, each
    rank has one pipe for both, which keeps their order; otherwise two.
    """

    def __init__(
        self,
        loop: Loop,
        log_dir: Path | None,
        style: Style,
        on_reader_gone: Callable[[OSError], None],
        record_key: str = NO_KEY,
    ) -> None:
        """`log_dir`: folder for one file per rank. Raises KitError."""
        self._loop = loop
        self._log_dir = log_dir
        self._style = style
        self._on_reader_gone = on_reader_gone
        self._is_one = os.path.sameopenfile(_STDOUT, _STDERR)
        # `jax-sif verify` may read the pipe, and must not take output of ranks for the
        # launcher's.
        is_piped = self._is_one and stat.S_ISFIFO(os.fstat(_STDERR).st_mode)
        self._mark = launcher_line("", record_key) if is_piped else ""
        self._out = Sink(_STDOUT)
        self._err = self._out if self._is_one else Sink(_STDERR)
        # Read end -> callback when it is readable.
        self._open: dict[int, Callable[[], None]] = {}
        self._log_files: list[int] = []
        if log_dir is not None:
            _make_dir(log_dir)

    @property
    def is_open(self) -> bool:
        """Whether any rank may still print."""
        return bool(self._open)

    @property
    def is_written(self) -> bool:
        return self._out.is_empty and self._err.is_empty

    def log_of(self, place: RankPlacement) -> Path | None:
        if self._log_dir is None:
            return None
        return self._log_dir / f"rank-{place.rank}-{place.node}.log"

    def open(self, place: RankPlacement) -> tuple[int, int]:
        """Write ends for a rank's standard output and error, which the caller closes.

        They are the same descriptor if both outputs are the same file.
        """
        log = self._open_log(place)
        output = self._pipe(self._out, _STDOUT, place, log)
        return output, output if self._is_one else self._pipe(
            self._err, _STDERR, place, log
        )

    def print_message(self, text: str) -> None:
        """Print a message of the launcher."""
        lines = "".join(f"{self._mark}{line}\n" for line in text.splitlines())
        self._err.put(self, lines.encode())

    def process_events(self) -> None:
        """Call after each iteration of the loop: selects what to read and to write."""
        for sink in (self._out, self._err):
            if sink.is_empty:
                self._loop.remove(sink.descriptor)
            else:
                self._loop.watch(sink.descriptor, WRITE, partial(self._write, sink))
        is_full = self._out.is_full or self._err.is_full
        for descriptor, read in self._open.items():
            if is_full:
                self._loop.remove(descriptor)
            else:
                self._loop.watch(descriptor, READ, read)

    def complete(self) -> None:
        """Ends an unfinished line on a terminal, after the last output of the ranks."""
        if self._style.label(_STDOUT, RankPlacement(0, 0, 0)):
            self._out.complete_line()

    def close_broken(self) -> None:
        """Discards the remaining output."""
        self._out.close_broken()
        self._err.close_broken()

    def close(self) -> None:
        for descriptor in [*self._open, *self._log_files]:
            self._loop.remove(descriptor)
            os.close(descriptor)
        self._open.clear()
        self._log_files.clear()

    def _open_log(self, place: RankPlacement) -> int | None:
        path = self.log_of(place)
        if path is None:
            return None
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise _no_log(path, error) from error
        self._log_files.append(file)
        return file

    def _pipe(
        self, sink: Sink, descriptor: int, place: RankPlacement, log: int | None
    ) -> int:
        is_terminal = os.isatty(descriptor)
        relay = Relay(sink, self._style.label(descriptor, place), is_terminal)
        read_end, write_end = os.pipe()
        self._open[read_end] = partial(self._read, read_end, relay, place, log)
        return write_end

    def _read(
        self, read_end: int, relay: Relay, place: RankPlacement, log: int | None
    ) -> None:
        piece = os.read(read_end, _PIECE_BYTES)
        if log is not None:
            self._write_log(log, piece, place)
        if piece:
            relay.feed(piece)
            return
        relay.close()
        self._loop.remove(read_end)
        del self._open[read_end]
        os.close(read_end)

    def _write_log(self, log: int, piece: bytes, place: RankPlacement) -> None:
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[os.write(log, rest) :]
        except OSError as error:
            path = self.log_of(place)
            raise KitError(
                f"cannot write the log {str(path)!r}: {error.strerror}; all ranks"
                " were ended, choose another folder with --log-dir"
            ) from error

    def _write(self, sink: Sink) -> None:
        try:
            sink.write_available()
        except OSError as error:
            sink.close_broken()
            if sink is self._out:
                self._on_reader_gone(error)


def _make_dir(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_log(folder, error) from error


def _no_log(path: Path, error: OSError) -> KitError:
    return KitError(
        f"cannot write logs to {str(path)!r}: {error.strerror}; choose another folder"
        " with --log-dir"
    )
