"""The port of a step's coordinator, different for each step, restart and job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping

from jaxsif.core.errors import UsageError
from jaxsif.core.slurm_env import (
    JOB_ID,
    RESERVED_PORTS,
    RESTART_COUNT,
    SLURM,
    STEP_ID,
    Identity,
)

# The image's entry has the same rule in sh, because it also holds for programs that do
# not know this kit; tests/rank/test_environments.py compares the two. It has the reasons.
_FIRST, _COUNT = 12288, 20011
_JOB_STRIDE, _RESTART_STRIDE = 211, 7919


def coordinator_port(environment: Mapping[str, str], identity: Identity) -> int:
    """Under Slurm by job, step and restart; elsewhere by the step's name.

    Returns a port from 12288 to 32298, below those that Linux hands out by itself.
    """
    if identity.launcher != SLURM:
        return _FIRST + zlib.crc32(identity.step.encode()) % _COUNT
    reserved = re.match(r"\d+", environment.get(RESERVED_PORTS, ""))
    if reserved:
        return int(reserved[0])
    job, step = _number(environment, JOB_ID), _number(environment, STEP_ID)
    restart = _number(environment, RESTART_COUNT, "0")
    offset = job * _JOB_STRIDE + step + restart * _RESTART_STRIDE
    return _FIRST + offset % _COUNT


def _number(
    environment: Mapping[str, str], name: str, default: str | None = None
) -> int:
    value = environment.get(name) or default
    if value is None or not value.isdecimal():
        raise UsageError(
            f"{name} is {value!r}, expected a number; start the program with srun,"
            " which sets it, or set JAX_COORDINATOR_PORT for every rank"
        )
    return int(value)
