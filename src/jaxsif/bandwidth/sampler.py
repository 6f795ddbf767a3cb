"""Measures one collective at one size: finds how many go into a program, runs the trials, checks each; runs in each rank."""
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

# One program lasts about this long: the start of it, some tens of microseconds, is then
# not seen, and a run of all sizes stays short.
_PROGRAM_US = 10_000.0
_LONGEST_CHAIN = 1024
# Outside of these a chain's length is chosen anew, so many times at most.
_SHORTEST_PROGRAM_US, _LONGEST_PROGRAM_US = 2_000.0, 20_000.0
_MOST_LENGTHS = 3

# No trial has number 0: what a buffer holds at first is then never right.
_WARM_UP_TRIALS = (1, 2)
_FIRST_TRIAL = 3


@dataclass(frozen=True)
class Sample:
    """One size of one series, as this rank saw it.

    `times_us` are of one collective, a value a trial; `local_us` is what this rank
    needed in each trial for filling and checking, which no other rank has a part in.
    `common_us` is the time of one collective that the ranks agree upon, roughly.
    """

    chained: int
    times_us: list[float]
    local_us: list[float]
    compile_s: float
    wrong: int
    common_us: float


@dataclass(frozen=True)
class Sampler:
    """Measures sizes of a series. `live` is told before everything that may take long."""

    group: Group
    series: Series
    trials: int
    live: Callable[[], None]

    def take(self, shape: Buffers, guess_us: float | None) -> Sample:
        """Warms up until the chain has its length, then measures.

        `guess_us` is what the size before took; None when there was none.
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
        """The first run opens connections; the second tells how long one takes."""
        for trial in _WARM_UP_TRIALS:
            sent = around.fill(self.group.number(trial))
            self._meet()
            took_us, received = _timed(chain, sent, received)
            # For its compilation: that is not to fall into a trial.
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
        """All ranks go on at about the same moment."""
        self.group.told([0.0])


def _timed(
    chain: jax.stages.Compiled, sent: jax.Array, received: jax.Array
) -> tuple[float, jax.Array]:
    """Microseconds of one run, and what it brought; both buffers are given away."""
    jax.block_until_ready((sent, received))
    began_s = time.perf_counter()
    _, received = jax.block_until_ready(chain(sent, received))
    return 1e6 * (time.perf_counter() - began_s), received


def chain_length(time_us: float) -> int:
    """How many collectives go into a program: a power of two, so that few lengths are
    ever compiled."""
    wanted = _PROGRAM_US / max(time_us, 0.1)
    return min(1 << max(round(math.log2(wanted)), 0), _LONGEST_CHAIN)


def is_well_timed(program_us: float) -> bool:
    """Whether a program lasts long enough to be measured and no longer than needed."""
    return _SHORTEST_PROGRAM_US <= program_us <= _LONGEST_PROGRAM_US
