"""The deadlines of a rank: their defaults, their variables, and what is no number."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math

import pytest

from jaxsif.core.errors import UsageError
from jaxsif.rank.watchdog import diagnostic_limits, program_limits


@pytest.mark.parametrize(
    ("limits", "environment", "phase", "expected_s"),
    [
        (diagnostic_limits, {}, "connected", 120),
        (diagnostic_limits, {}, "allreduce", 120),
        (program_limits, {}, "connected", 300),
        (program_limits, {}, "done", math.inf),
        (program_limits, {"JAX_SIF_DEADLINE_S": "60"}, "done", 60),
        (diagnostic_limits, {"JAX_SIF_DEADLINE_S": "60"}, "connected", 60),
        (diagnostic_limits, {"JAX_SIF_DEADLINE_DEVICES_S": "7.5"}, "devices", 7.5),
        (diagnostic_limits, {"JAX_SIF_DEADLINE_DEVICES_S": "7.5"}, "done", 120),
        (diagnostic_limits, {"JAX_SIF_DEADLINE_S": "inf"}, "done", math.inf),
    ],
)
def test_each_phase_has_its_deadline(limits, environment, phase, expected_s):
    assert expected_s == limits(environment, 8).deadline_s(phase)


@pytest.mark.parametrize("text", ["soon", "0", "-3", "nan", "0.5"])
def test_what_is_no_time_is_refused_with_what_was_got(text):
    with pytest.raises(UsageError, match=f"JAX_SIF_DEADLINE_S is '{text}'"):
        program_limits({"JAX_SIF_DEADLINE_S": text}, 8)


def test_more_ranks_give_the_coordinator_more_time():
    assert 5 == diagnostic_limits({}, 8).heartbeat_s
    assert 25 == diagnostic_limits({}, 10_000).heartbeat_s
    assert 45 == diagnostic_limits({"JAX_SIF_HEARTBEAT_S": "45"}, 10_000).heartbeat_s


def test_one_variable_switches_the_watchdog_off():
    assert diagnostic_limits({}, 8).is_watched
    assert not diagnostic_limits({"JAX_SIF_WATCHDOG": "off"}, 8).is_watched
