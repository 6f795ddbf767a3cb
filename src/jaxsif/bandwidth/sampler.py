"""Measures one collective at one size: repetitions per program, trials, checks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import jax

from jaxsif.bandwidth.collectives import Buffers
from jaxsif.bandwidth.plan import Series
from jaxsif.bandwidth.programs import Group, Programs, compile_repeated, programs

# The target duration of a program: its start, some tens of microseconds, is then
# negligible, and a run of all sizes stays short.
_PROGRAM_US = 10_000.0
_MAX_REPETITIONS = 1024
# Outside of these a chain's length is chosen again, up to this many times.
_MIN_PROGRAM_US, _MAX_PROGRAM_US = 2_000.0, 20_000.0
_MAX_ATTEMPTS = 3

# No trial has number 0: the initial content of a buffer is then never right.
_WARM_UP_TRIALS = (1, 2)
_FIRST_TRIAL = 3


@dataclass(frozen=True)
class Sample:
    """This rank's measurement of one size of one series.

    `times_us`: the time of one collective, per trial; `local_us`: this rank's own time
    for filling and checking, per trial; `synchronized_us`: the rough time of one
    collective, the same on all ranks.
    """

    repetitions: int
    times_us: list[float]
    local_us: list[float]
    compile_s: float
    wrong: int
    synchronized_us: float


@dataclass(frozen=True)
class Sampler:
    """Measures sizes of a series; calls `keepalive` before each slow part."""

    group: Group
    series: Series
    trials: int
    keepalive: Callable[[], None]

    def measure(self, shape: Buffers, estimate_us: float | None) -> Sample:
        """Warm up until the length of the chain fits, then measure.

        `estimate_us`: the time at the previous size; None for the first.
        """
        series = self.series
        helpers = programs(self.group, series.collective, series.dtype, shape)
        length = 1 if estimate_us is None else repetitions_for(estimate_us)
        received = helpers.empty(self.group.broadcast_int(0))
        for _ in range(_MAX_ATTEMPTS):
            self.keepalive()
            chain, compile_s = compile_repeated(
                self.group, series.collective, series.dtype, shape, length
            )
            took_us, received = self._warm_up(chain, helpers, received)
            # The same for all ranks, and so is the length that follows from it.
            synchronized_us = float(self.group.gather_floats([took_us]).max()) / length
            better = repetitions_for(synchronized_us)
            if better == length or has_target_duration(synchronized_us * length):
                break
            length = better
        return self._measure(
            chain, length, helpers, received, compile_s, synchronized_us
        )

    def _warm_up(
        self, chain: jax.stages.Compiled, helpers: Programs, received: jax.Array
    ) -> tuple[float, jax.Array]:
        """Run twice: the first opens connections, the second is timed."""
        for trial in _WARM_UP_TRIALS:
            sent = helpers.fill(self.group.broadcast_int(trial))
            self._barrier()
            took_us, received = _timed(chain, sent, received)
            # Compiles it, so that no trial includes the compilation.
            helpers.wrong(received, self.group.broadcast_int(trial))
        return took_us, received

    def _measure(
        self,
        chain: jax.stages.Compiled,
        length: int,
        helpers: Programs,
        received: jax.Array,
        compile_s: float,
        synchronized_us: float,
    ) -> Sample:
        times_us, local_us, wrong = [], [], 0
        for trial in range(_FIRST_TRIAL, _FIRST_TRIAL + self.trials):
            self.keepalive()
            number = self.group.broadcast_int(trial)
            began_s = time.perf_counter()
            sent = jax.block_until_ready(helpers.fill(number))
            filled_s = time.perf_counter() - began_s
            self._barrier()
            took_us, received = _timed(chain, sent, received)
            times_us.append(took_us / length)
            began_s = time.perf_counter()
            counts = jax.block_until_ready(helpers.wrong(received, number))
            checked_s = time.perf_counter() - began_s
            local_us.append(1e6 * (filled_s + checked_s))
            wrong += sum(int(s.data[0]) for s in counts.addressable_shards)
        return Sample(length, times_us, local_us, compile_s, wrong, synchronized_us)

    def _barrier(self) -> None:
        """Let all ranks continue at about the same moment."""
        self.group.gather_floats([0.0])


def _timed(
    chain: jax.stages.Compiled, sent: jax.Array, received: jax.Array
) -> tuple[float, jax.Array]:
    """Time one run in microseconds; return its result. Both buffers are donated."""
    jax.block_until_ready((sent, received))
    began_s = time.perf_counter()
    _, received = jax.block_until_ready(chain(sent, received))
    return 1e6 * (time.perf_counter() - began_s), received


def repetitions_for(time_us: float) -> int:
    """Collectives per program: a power of two, so that few lengths are compiled."""
    ideal = _PROGRAM_US / max(time_us, 0.1)
    return min(1 << max(round(math.log2(ideal)), 0), _MAX_REPETITIONS)


def has_target_duration(program_us: float) -> bool:
    """Whether a program is long enough to be measured, and no longer than needed."""
    return _MIN_PROGRAM_US <= program_us <= _MAX_PROGRAM_US
