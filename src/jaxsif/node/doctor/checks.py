"""The doctor's checks of names, limits, directories, software and network."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from jaxsif.core import image
from jaxsif.node import limits, rdma, software
from jaxsif.node.doctor import probes
from jaxsif.node.doctor.isolate import CheckSkipped
from jaxsif.node.doctor.run import Check, CheckContext, CheckOutput
from jaxsif.node.host import DESCRIPTION, Room


def hostname(context: CheckContext, limit_s: float) -> CheckOutput:
    host_info = context.host_info
    addresses = host_info.resolve(host_info.host_name)
    known = replace(host_info, resolve=lambda name: addresses)
    summary = f"{host_info.host_name} is {addresses[0] if addresses else 'unknown'}"
    return CheckOutput(summary, list(limits.hostname(known)))


def open_files(context: CheckContext, limit_s: float) -> CheckOutput:
    limit = context.host_info.open_files
    summary = "without limit" if math.isinf(limit) else f"at most {limit:.0f}"
    return CheckOutput(summary, list(limits.open_files(context.host_info)))


def locked_memory(context: CheckContext, limit_s: float) -> CheckOutput:
    if not context.host_info.names("/sys/class/infiniband"):
        raise CheckSkipped("only RDMA needs it, and there is no RDMA device")
    limit = context.host_info.locked_bytes
    summary = (
        "without limit" if math.isinf(limit) else f"at most {limits.amount(limit)}"
    )
    return CheckOutput(summary, list(limits.locked_memory(context.host_info)))


def shared_memory(context: CheckContext, limit_s: float) -> CheckOutput:
    summary = _space("/dev/shm", context.host_info.room("/dev/shm"))
    return CheckOutput(summary, list(limits.shared_memory(context.host_info)))


def temporary_space(context: CheckContext, limit_s: float) -> CheckOutput:
    folder = limits.temporary_folder(context.host_info)
    summary = _space(folder, context.host_info.room(folder))
    return CheckOutput(summary, list(limits.temporary_space(context.host_info)))


def _space(folder: str, room: Room | None) -> str:
    if room is None:
        return f"no {folder}"
    return (
        f"{folder}: {limits.amount(room.free_bytes)} of {limits.amount(room.size_bytes)}"
        " free"
    )


def xla_flags(context: CheckContext, limit_s: float) -> CheckOutput:
    host_info = context.host_info
    value = host_info.variable("XLA_FLAGS")
    if not value:
        return CheckOutput("XLA_FLAGS is not set")
    if not host_info.has(software.KNOWN_FLAGS):
        raise CheckSkipped("the known flags are listed only in the image")
    names, _ = software.split(value)
    summary = f"XLA_FLAGS: {len(names)} flags" if names else "XLA_FLAGS names a file"
    return CheckOutput(summary, list(software.xla_flags(host_info)))


def image_build(context: CheckContext, limit_s: float) -> CheckOutput:
    name = image.fingerprint(context.host_info.path(DESCRIPTION))
    if name is None:
        raise CheckSkipped("not in the image")
    built = context.host_info.image_facts.get("built", "an unknown day")
    return CheckOutput(f"fingerprint {name}, built {built}")


def own_software(context: CheckContext, limit_s: float) -> CheckOutput:
    versions = context.host_info.image_facts.get("versions")
    if not isinstance(versions, dict):
        raise CheckSkipped("not in the image")
    summary = ", ".join(
        f"{k} {versions[k]}" for k in ("python", "jax") if k in versions
    )
    return CheckOutput(summary, list(software.host_packages(context.host_info)))


def rdma_ports(context: CheckContext, limit_s: float) -> CheckOutput:
    ports = rdma.read_ports(context.host_info)
    if not ports:
        raise CheckSkipped("no RDMA device")
    return CheckOutput(rdma.summary(ports), list(rdma.port_troubles(ports)))


def clock(context: CheckContext, limit_s: float) -> CheckOutput:
    try:
        is_kept = probes.is_clock_kept()
    except OSError as error:
        raise CheckSkipped(str(error)) from error
    if not is_kept:
        raise CheckSkipped("the kernel knows of no clock synchronization (NTP, PTP)")
    return CheckOutput("synchronized")


def writing(folder: str | None = None) -> Callable[[CheckContext, float], CheckOutput]:
    """A check that writes into a directory; default: that for temporary files."""

    def run(context: CheckContext, limit_s: float) -> CheckOutput:
        name = folder or limits.temporary_folder(context.host_info)
        path = context.host_info.path(name)
        return CheckOutput(f"1 MiB in {name}", list(probes.write_trouble(path)))

    return run


def jax_import(context: CheckContext, limit_s: float) -> CheckOutput:
    if context.host_info.accelerator is None:
        raise CheckSkipped("not in the image")
    result = probes.import_jax(context.host_info.environment, limit_s)
    summary = f"jax {result.last_line} in {result.elapsed_s:.1f} s"
    if result.status != 0:
        summary = "import jax"
    return CheckOutput(summary, list(probes.import_trouble(result, limit_s)))


QUICK = (
    Check("own name", hostname, limit_s=5.0),
    Check("open files", open_files),
    Check("locked memory", locked_memory),
    Check("shared memory", shared_memory, limit_s=2.0),
    Check("temporary files", temporary_space, limit_s=2.0),
    Check("RDMA ports", rdma_ports),
    Check("image", image_build),
    Check("software", own_software, is_of_node=False),
    Check("XLA flags", xla_flags, is_of_node=False),
)
SLOW = (
    Check("writing temporary files", writing(), limit_s=20.0),
    Check("writing shared memory", writing("/dev/shm"), limit_s=20.0),
    Check("clock", clock),
    Check("importing JAX", jax_import, limit_s=60.0, spawns_children=True),
)
