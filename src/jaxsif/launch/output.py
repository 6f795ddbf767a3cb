"""Forwards the output of the ranks line by line, without loss."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import asyncio
import os
import select
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jaxsif.core.errors import KitError
from jaxsif.core.record_lines import MARKER_BYTES, NO_KEY, launcher_line
from jaxsif.launch.environment import RankPlacement

# Longer lines are forwarded in pieces. (A record of the kit has at most 4096 bytes.)
MAX_LINE_BYTES = 1 << 20
# Above this nothing more is read, so that the ranks wait for a slow reader.
HIGH_WATER_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16
_STDOUT, _STDERR = 1, 2
_COLOURS = (36, 33, 32, 35, 34, 31)


class Sink:
    """One of the launcher's outputs, shared by several writers."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._waiting = bytearray()
        self._last: object = None
        self._is_mid_line = False
        self._is_gone = False
        # A writable pipe accepts this many bytes without blocking.
        is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._piece_bytes = _PIECE_BYTES if is_file else select.PIPE_BUF

    @property
    def is_empty(self) -> bool:
        return not self._waiting

    @property
    def is_full(self) -> bool:
        return len(self._waiting) > HIGH_WATER_BYTES

    def is_mid_line_of(self, writer: object) -> bool:
        """Whether the last line is this writer's, and unfinished."""
        return self._is_mid_line and self._last is writer

    def put(self, writer: object, text: bytes) -> None:
        """Queues text; completes an unfinished line of another writer first."""
        if not text or self._is_gone:
            return
        if self._is_mid_line and self._last is not writer:
            self._waiting += b"\n"
        self._waiting += text
        self._last = writer
        self._is_mid_line = not text.endswith((b"\n", b"\r"))

    def complete_line(self) -> None:
        """Ends an unfinished line, so that later output starts a new one."""
        self.put(self._last, b"\n" if self._is_mid_line else b"")

    def write_available(self) -> None:
        """Writes a piece; call it when the output is writable. Raises OSError."""
        try:
            written = os.write(self.descriptor, self._waiting[: self._piece_bytes])
        except BlockingIOError:
            return
        del self._waiting[:written]

    def close_broken(self) -> None:
        """Discards everything from now on, because the reader is gone."""
        self._is_gone = True
        self._waiting.clear()


class Relay:
    """Forwards one stream of one rank to a sink in whole lines.

    A carriage return ends a line as well, because progress bars use it.
    """

    def __init__(
        self, sink: Sink, label: bytes = b"", hides_records: bool = False
    ) -> None:
        """`hides_records`: omit records, which only `jax-sif verify` reads."""
        self._sink = sink
        self._label = label
        self._hides_records = hides_records
        self._unfinished = bytearray()

    def feed(self, piece: bytes) -> None:
        """The next piece of the stream, split anywhere."""
        before = len(self._unfinished)
        self._unfinished += piece
        text, start = self._unfinished, max(before - 1, 0)
        # A carriage return at the end may be the first half of "\r\n".
        end = max(text.rfind(b"\n", start), text.rfind(b"\r", start, -1)) + 1
        if end:
            self._pass(bytes(text[:end]))
            del text[:end]
        if len(self._unfinished) > MAX_LINE_BYTES:
            self.close()

    def close(self) -> None:
        """The stream has ended, perhaps in the middle of a line."""
        self._pass(bytes(self._unfinished))
        self._unfinished.clear()

    def _pass(self, text: bytes) -> None:
        if self._hides_records and MARKER_BYTES in text:
            lines = text.splitlines(keepends=True)
            text = b"".join(line.partition(MARKER_BYTES)[0] for line in lines)
        if self._label and text:
            labelled = self._label.join([b"", *text.splitlines(keepends=True)])
            is_continued = self._sink.is_mid_line_of(self)
            text = labelled[len(self._label) :] if is_continued else labelled
        self._sink.put(self, text)


def label(rank: int, node: str, width: int, can_erase: bool, has_colour: bool) -> bytes:
    """The prefix of each line of a rank: `3 node2| `."""
    text = f"{rank:>{width}} {node}|"
    if has_colour:
        text = f"\x1b[{_COLOURS[rank % len(_COLOURS)]}m{text}\x1b[0m"
    # A progress bar may have left a longer line.
    erase = "\x1b[K" if can_erase else ""
    return f"{erase}{text} ".encode()


@dataclass(frozen=True)
class LabelStyle:
    """How lines are labelled. `is_labelled`: None means on a terminal only.

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


def label_style(
    processes: int, is_labelled: bool | None, environment: Mapping[str, str]
) -> LabelStyle:
    """The style from the options, NO_COLOR (no-color.org) and TERM."""
    can_erase = environment.get("TERM", "dumb") != "dumb"
    has_colour = not environment.get("NO_COLOR")
    return LabelStyle(len(str(processes - 1)), is_labelled, can_erase, has_colour)


class OutputForwarder:
    """Forwards the output of all ranks to their logs and to the launcher's outputs.

    Reading pauses while the launcher's reader is slow, so that the ranks wait for it.
    If standard output and error are the same file, as on a terminal and with `|&`, each
    rank has one pipe for both, which keeps their order; otherwise two.

    `changed` is set when one of the properties may have changed; `write_error` is the
    error with which standard output was lost.
    """

    def __init__(
        self, log_dir: Path | None, style: LabelStyle, record_key: str = NO_KEY
    ) -> None:
        """`log_dir`: directory for one file per rank. Raises KitError."""
        self.changed = asyncio.Event()
        self.write_error: OSError | None = None
        self._loop = asyncio.get_running_loop()
        self._log_dir = log_dir
        self._style = style
        self._is_one = os.path.sameopenfile(_STDOUT, _STDERR)
        # `jax-sif verify` may read the pipe, and must not take output of ranks for the
        # launcher's.
        is_piped = self._is_one and stat.S_ISFIFO(os.fstat(_STDERR).st_mode)
        self._mark = launcher_line("", record_key) if is_piped else ""
        self._out = Sink(_STDOUT)
        self._err = self._out if self._is_one else Sink(_STDERR)
        self._sinks = (self._out,) if self._is_one else (self._out, self._err)
        # Read end -> callback when it is readable.
        self._pipes: dict[int, Callable[[], None]] = {}
        self._logs: list[int] = []
        self._writing: set[Sink] = set()
        self._is_paused = False
        if log_dir is not None:
            _make_dir(log_dir)

    @property
    def is_open(self) -> bool:
        """Whether any rank may still print."""
        return bool(self._pipes)

    @property
    def is_written(self) -> bool:
        return all(sink.is_empty for sink in self._sinks)

    def log_of(self, place: RankPlacement) -> Path | None:
        """The log file of a rank, if there are logs."""
        if self._log_dir is None:
            return None
        return self._log_dir / f"rank-{place.rank}-{place.node}.log"

    def open(self, place: RankPlacement) -> tuple[int, int]:
        """Write ends for a rank's standard output and error, which the caller closes.

        They are the same descriptor if both outputs are the same file.
        """
        log = self._open_log(place)
        output = self._open_pipe(self._out, place, log)
        if self._is_one:
            return output, output
        return output, self._open_pipe(self._err, place, log)

    def print_message(self, text: str) -> None:
        """Print a message of the launcher."""
        lines = "".join(f"{self._mark}{line}\n" for line in text.splitlines())
        self._err.put(self, lines.encode())
        self._update()

    def complete_line(self) -> None:
        """Ends an unfinished line on a terminal, after the last output of the ranks."""
        if self._style.label(_STDOUT, RankPlacement(0, 0, 0)):
            self._out.complete_line()

    def discard(self) -> None:
        """Discards the remaining output."""
        for sink in self._sinks:
            sink.close_broken()
        self._update()

    def close(self) -> None:
        """Closes the pipes and logs of all ranks."""
        for descriptor in self._pipes:
            self._loop.remove_reader(descriptor)
        for descriptor in [*self._pipes, *self._logs]:
            os.close(descriptor)
        self._pipes.clear()
        self._logs.clear()

    def _open_log(self, place: RankPlacement) -> int | None:
        path = self.log_of(place)
        if path is None:
            return None
        try:
            log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except OSError as error:
            raise _no_log(path, error) from error
        self._logs.append(log)
        return log

    def _open_pipe(self, sink: Sink, place: RankPlacement, log: int | None) -> int:
        is_terminal = os.isatty(sink.descriptor)
        relay = Relay(sink, self._style.label(sink.descriptor, place), is_terminal)
        read_end, write_end = os.pipe()
        self._pipes[read_end] = partial(self._read, read_end, relay, place, log)
        if not self._is_paused:
            self._loop.add_reader(read_end, self._pipes[read_end])
        return write_end

    def _read(
        self, read_end: int, relay: Relay, place: RankPlacement, log: int | None
    ) -> None:
        piece = os.read(read_end, _PIECE_BYTES)
        if log is not None:
            self._write_log(log, piece, place)
        if piece:
            relay.feed(piece)
        else:
            relay.close()
            self._loop.remove_reader(read_end)
            del self._pipes[read_end]
            os.close(read_end)
            self.changed.set()
        self._update()

    def _write_log(self, log: int, piece: bytes, place: RankPlacement) -> None:
        remaining = memoryview(piece)
        try:
            while remaining:
                remaining = remaining[os.write(log, remaining) :]
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
                self.write_error = error
            self.changed.set()
        self._update()

    def _update(self) -> None:
        """Selects what to read and to write next, after a queue has changed."""
        for sink in self._sinks:
            if sink.is_empty and sink in self._writing:
                self._writing.remove(sink)
                self._loop.remove_writer(sink.descriptor)
            elif not sink.is_empty and sink not in self._writing:
                self._writing.add(sink)
                self._loop.add_writer(sink.descriptor, self._write, sink)
        is_full = any(sink.is_full for sink in self._sinks)
        if is_full != self._is_paused:
            self._is_paused = is_full
            for descriptor, read in self._pipes.items():
                if is_full:
                    self._loop.remove_reader(descriptor)
                else:
                    self._loop.add_reader(descriptor, read)
        if not self._writing:
            self.changed.set()


def _make_dir(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_log(path, error) from error


def _no_log(path: Path, error: OSError) -> KitError:
    return KitError(
        f"cannot write logs to {str(path)!r}: {error.strerror}; choose another folder"
        " with --log-dir"
    )
