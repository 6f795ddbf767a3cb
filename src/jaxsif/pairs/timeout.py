"""Ends a rank whose partner does not respond; the program would wait forever."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from jaxsif.core.errors import UsageError
from jaxsif.rank.reporter import Reporter

# Time for the partner, and for other pairs that hang, to time out and report as well.
_FLUSH_DELAY_S = 1.0
_MAX_S = 3600


def partner_timeout(seconds: float) -> float:
    """Check the time one node of a pair waits for the other. Raises UsageError."""
    if not 1 <= seconds <= _MAX_S:
        raise UsageError(
            f"--answer-within is {seconds:g}, expected a number of seconds from 1 to"
            f" {_MAX_S}"
        )
    return seconds


class PartnerTimeout:
    """Context manager that exits if the partner does not respond within `limit_s`."""

    def __init__(
        self,
        reporter: Reporter,
        limit_s: float,
        facts: Mapping[str, Any],
        end: Callable[[int], object] = os._exit,
    ) -> None:
        """`facts`: fields of the `pair` record that reports the timeout."""
        self._reporter = reporter
        self._limit_s = limit_s
        self._facts = facts
        self._end = end
        self._last_response_s = 0.0
        self._is_over = threading.Event()

    def reset(self) -> None:
        """The partner has responded. Cheap, because it runs between timed trials."""
        self._last_response_s = time.monotonic()

    def __enter__(self) -> PartnerTimeout:
        self.reset()
        threading.Thread(target=self._wait, daemon=True).start()
        return self

    def __exit__(self, *ending: object) -> None:
        self._is_over.set()

    def _wait(self) -> None:
        while (left_s := self._last_response_s + self._limit_s - time.monotonic()) > 0:
            if self._is_over.wait(left_s):
                return
        self._expire()

    def _expire(self) -> None:
        outcome = {"times_us": [], "wrong": 0, "timed_out": True}
        self._reporter.write("pair", is_flushed=False, **self._facts, **outcome)
        identity = self._reporter.identity
        print(
            f"jax-sif: rank {identity.rank} on {identity.node}: {self._facts['partner_node']} did"
            f" not respond for {self._limit_s:g} s",
            file=sys.__stderr__,
            flush=True,
        )
        self._is_over.wait(_FLUSH_DELAY_S)
        self._end(1)
