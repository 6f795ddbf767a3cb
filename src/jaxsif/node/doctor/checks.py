"""The doctor's checks of names, limits, directories, software and network."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
import errno
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from jaxsif.core import image
from jaxsif.core.errors import Problem
from jaxsif.core.image import IMAGE_JSON, XLA_FLAGS
from jaxsif.core.text import format_size
from jaxsif.node import limits, rdma
from jaxsif.node import software as software_checks
from jaxsif.node.doctor.isolate import CheckSkipped, CommandResult, run_commands
from jaxsif.node.doctor.run import Check, CheckContext, CheckResult
from jaxsif.node.host import MIB, DiskSpace

_PATTERN = bytes(range(256)) * (MIB // 256)

# The kernel's state "clock not synchronized" (adjtimex(2)).
_TIME_ERROR = 5

_IMPORT_JAX = [sys.executable, "-c", "import jax; print(jax.__version__)"]


def hostname(context: CheckContext) -> CheckResult:
    host_info = context.host_info
    addresses = host_info.resolve(host_info.host_name)
    # The check below must not resolve the name again, which may be slow.
    resolved = replace(host_info, resolve=lambda name: addresses)
    summary = f"{host_info.host_name} is {addresses[0] if addresses else 'unknown'}"
    return CheckResult(summary, tuple(limits.hostname(resolved)))


def open_files(context: CheckContext) -> CheckResult:
    limit = context.host_info.open_files
    summary = "without limit" if math.isinf(limit) else f"at most {limit:.0f}"
    return CheckResult(summary, tuple(limits.open_files(context.host_info)))


def locked_memory(context: CheckContext) -> CheckResult:
    if not context.host_info.names("/sys/class/infiniband"):
        raise CheckSkipped("only RDMA needs it, and there is no RDMA device")
    limit = context.host_info.locked_bytes
    summary = "without limit" if math.isinf(limit) else f"at most {format_size(limit)}"
    return CheckResult(summary, tuple(limits.locked_memory(context.host_info)))


def shared_memory(context: CheckContext) -> CheckResult:
    summary = _format_space("/dev/shm", context.host_info.disk_space("/dev/shm"))
    return CheckResult(summary, tuple(limits.shared_memory(context.host_info)))


def temporary_space(context: CheckContext) -> CheckResult:
    directory = limits.temporary_dir(context.host_info)
    summary = _format_space(directory, context.host_info.disk_space(directory))
    return CheckResult(summary, tuple(limits.temporary_space(context.host_info)))


def _format_space(directory: str, space: DiskSpace | None) -> str:
    if space is None:
        return f"no {directory}"
    free, size = format_size(space.free_bytes), format_size(space.size_bytes)
    return f"{directory}: {free} of {size} free"


def xla_flags(context: CheckContext) -> CheckResult:
    host_info = context.host_info
    value = host_info.variable("XLA_FLAGS")
    if not value:
        return CheckResult("XLA_FLAGS is not set")
    if not host_info.has(XLA_FLAGS):
        raise CheckSkipped("the known flags are listed only in the image")
    names, _ = software_checks.split_flags(value)
    summary = f"XLA_FLAGS: {len(names)} flags" if names else "XLA_FLAGS names a file"
    return CheckResult(summary, tuple(software_checks.xla_flags(host_info)))


def image_build(context: CheckContext) -> CheckResult:
    fingerprint = image.fingerprint(context.host_info.path(IMAGE_JSON))
    if fingerprint is None:
        raise CheckSkipped("not in the image")
    built = context.host_info.image_facts.get("built", "an unknown day")
    return CheckResult(f"fingerprint {fingerprint}, built {built}")


def software(context: CheckContext) -> CheckResult:
    versions = context.host_info.image_facts.get("versions")
    if not isinstance(versions, dict):
        raise CheckSkipped("not in the image")
    summary = ", ".join(
        f"{k} {versions[k]}" for k in ("python", "jax") if k in versions
    )
    problems = software_checks.host_packages(context.host_info)
    return CheckResult(summary, tuple(problems))


def rdma_ports(context: CheckContext) -> CheckResult:
    ports = rdma.read_ports(context.host_info)
    if not ports:
        raise CheckSkipped("no RDMA device")
    return CheckResult(rdma.summary(ports), tuple(rdma.port_problems(ports)))


def clock(context: CheckContext) -> CheckResult:
    try:
        is_synchronized = is_clock_synchronized()
    except OSError as error:
        raise CheckSkipped(str(error)) from error
    if not is_synchronized:
        raise CheckSkipped("the kernel knows of no clock synchronization (NTP, PTP)")
    return CheckResult("synchronized")


def is_clock_synchronized() -> bool:
    """Whether the kernel's clock is synchronized. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    # struct timex, all zero: a query without changes.
    state = libc.adjtimex(ctypes.byref((ctypes.c_long * 64)()))
    if state < 0:
        raise OSError(ctypes.get_errno(), "adjtimex")
    return bool(state != _TIME_ERROR)


def writing(context: CheckContext, directory: str | None = None) -> CheckResult:
    """Write into a directory; default: that for temporary files."""
    name = directory or limits.temporary_dir(context.host_info)
    problems = write_problems(context.host_info.path(name))
    return CheckResult(f"1 MiB in {name}", tuple(problems))


def write_problems(directory: Path) -> Iterator[Problem]:
    """Write a MiB and read it back."""
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(_PATTERN)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            content = file.read()
    except OSError as error:
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        yield Problem(
            "disk-full" if is_full else "not-writable",
            f"{directory} cannot be written: {error.strerror}",
            "clean it up"
            if is_full
            else "check its mount, its mode and the kernel log",
        )
        return
    if content != _PATTERN:
        yield Problem(
            "not-writable",
            f"bytes read from {directory} differ from those written",
            "drain the node and check its disk",
        )


def jax_import(context: CheckContext) -> CheckResult:
    if context.host_info.accelerator is None:
        raise CheckSkipped("not in the image")
    environments = [context.host_info.environment]
    (result,) = run_commands(_IMPORT_JAX, environments, context.timeout_s)
    summary = f"jax {result.last_line} in {result.elapsed_s:.1f} s"
    if result.status != 0:
        summary = "import jax"
    return CheckResult(summary, tuple(import_problems(result, context.timeout_s)))


def import_problems(result: CommandResult, timeout_s: float) -> Iterator[Problem]:
    if result.status != 0:
        yield Problem(
            "jax-import",
            f"`import jax` {result.failure(timeout_s)}",
            "run it by hand: singularity exec $JAX_IMAGE python -c 'import jax'",
        )


QUICK = (
    Check("host name", hostname, timeout_s=5.0),
    Check("open files", open_files),
    Check("locked memory", locked_memory),
    Check("shared memory", shared_memory, timeout_s=2.0),
    Check("temporary files", temporary_space, timeout_s=2.0),
    Check("RDMA ports", rdma_ports),
    Check("image", image_build),
    Check("software", software, is_node_fault=False),
    Check("XLA flags", xla_flags, is_node_fault=False),
)
SLOW = (
    Check("writing temporary files", writing, timeout_s=20.0),
    Check(
        "writing shared memory",
        partial(writing, directory="/dev/shm"),
        timeout_s=20.0,
    ),
    Check("clock", clock),
    Check("importing JAX", jax_import, timeout_s=60.0, spawns_children=True),
)
