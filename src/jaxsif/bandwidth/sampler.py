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
from jaxsif.bandwidth.programs import Group, Programs, compiled_chain, programs

# The target duration of a program: its start, some tens of microseconds, is then
# negligible, and a run of all sizes stays short.
_PROGRAM_US = 10_000.0
_LONGEST_CHAIN = 1024
# Outside of these a chain's length is chosen again, up to this many times.
_SHORTEST_PROGRAM_US, _LONGEST_PROGRAM_US = 2_000.0, 20_000.0
_MOST_LENGTHS = 3

# No trial has number 0: the initial content of a buffer is then never right.
_WARM_UP_TRIALS = (1, 2)
_FIRST_TRIAL = 3


@dataclass(frozen=True)
class Sample:
    """This rank's measurement of one size of one series.

    `times_us`: the time of one collective, per trial; `local_us`: this rank's own time
    for filling and checking, per trial; `common_us`: the rough time of one collective,
    the same on all ranks.
    """

    chained: int
    times_us: list[float]
    local_us: list[float]
    compile_s: float
    wrong: int
    common_us: float


@dataclass(frozen=True)
class Sampler:
    """Measures sizes of a series; calls `live` before everything that may take long."""

    group: Group
    series: Series
    trials: int
    live: Callable[[], None]

    def take(self, shape: Buffers, guess_us: float | None) -> Sample:
        """Warm up until the length of the chain fits, then measure.

        `guess_us`: the time at the previous size; None for the first.
        """
        series = self.series
        around = programs(self.group, series.collective, series.dtype, shape)
        length = 1 if guess_us is None else chain_length(guess_us)
        received = around.empty(self.group.number(0))
        for _ in range(_MOST_LENGTHS):
            self.live()
            chain, compile_s = compiled_chain(
                self.group, series.collective, series.dtype, shape, length
            )
            took_us, received = self._warm_up(chain, around, received)
            # The same for all ranks, and so is the length that follows from it.
            common_us = float(self.group.told([took_us]).max()) / length
            better = chain_length(common_us)
            if better == length or is_well_timed(common_us * length):
                break
            length = better
        return self._measure(chain, length, around, received, compile_s, common_us)

    def _warm_up(
        self, chain: jax.stages.Compiled, around: Programs, received: jax.Array
    ) -> tuple[float, jax.Array]:
        """Run twice: the first opens connections, the second is timed."""
        for trial in _WARM_UP_TRIALS:
            sent = around.fill(self.group.number(trial))
            self._meet()
            took_us, received = _timed(chain, sent, received)
            # Compiles it, so that no trial includes the compilation.
            around.wrong(received, self.group.number(trial))
        return took_us, received

    def _measure(
        self,
        chain: jax.stages.Compiled,
        length: int,
        around: Programs,
        received: jax.Array,
        compile_s: float,
        common_us: float,
    ) -> Sample:
        times_us, local_us, wrong = [], [], 0
        for trial in range(_FIRST_TRIAL, _FIRST_TRIAL + self.trials):
            self.live()
            number = self.group.number(trial)
            began_s = time.perf_counter()
            sent = jax.block_until_ready(around.fill(number))
            filled_s = time.perf_counter() - began_s
            self._meet()
            took_us, received = _timed(chain, sent, received)
            times_us.append(took_us / length)
            began_s = time.perf_counter()
            counts = jax.block_until_ready(around.wrong(received, number))
            checked_s = time.perf_counter() - began_s
            local_us.append(1e6 * (filled_s + checked_s))
            wrong += sum(int(s.data[0]) for s in counts.addressable_shards)
        return Sample(length, times_us, local_us, compile_s, wrong, common_us)

    def _meet(self) -> None:
        """Let all ranks continue at about the same moment."""
        self.group.told([0.0])


def _timed(
    chain: jax.stages.Compiled, sent: jax.Array, received: jax.Array
) -> tuple[float, jax.Array]:
    """Time one run in microseconds; return its result. Both buffers are donated."""
    jax.block_until_ready((sent, received))
    began_s = time.perf_counter()
    _, received = jax.block_until_ready(chain(sent, received))
    return 1e6 * (time.perf_counter() - began_s), received


def chain_length(time_us: float) -> int:
    """Collectives per program: a power of two, so that few lengths are compiled."""
    wanted = _PROGRAM_US / max(time_us, 0.1)
    return min(1 << max(round(math.log2(wanted)), 0), _LONGEST_CHAIN)


def is_well_timed(program_us: float) -> bool:
    """Whether a program is long enough to be measured, and no longer than needed."""
    return _SHORTEST_PROGRAM_US <= program_us <= _LONGEST_PROGRAM_US
