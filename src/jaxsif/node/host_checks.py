"""The doctor's checks of names, limits, folders, software and network; run on a node, without a GPU too."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from jaxsif.core import image
from jaxsif.node import fabric, flags, host, probes, software
from jaxsif.node.checks import Check, CheckContext, CheckOutput
from jaxsif.node.host_info import DESCRIPTION, Room
from jaxsif.node.isolate import CheckSkipped


def hostname(patient: CheckContext, limit_s: float) -> CheckOutput:
    host_info = patient.host_info
    addresses = host_info.resolve(host_info.host_name)
    known = replace(host_info, resolve=lambda name: addresses)
    said = f"{host_info.host_name} is {addresses[0] if addresses else 'unknown'}"
    return CheckOutput(said, list(host.hostname(known)))


def open_files(patient: CheckContext, limit_s: float) -> CheckOutput:
    limit = patient.host_info.open_files
    said = "without limit" if math.isinf(limit) else f"at most {limit:.0f}"
    return CheckOutput(said, list(host.open_files(patient.host_info)))


def locked_memory(patient: CheckContext, limit_s: float) -> CheckOutput:
    if not patient.host_info.names("/sys/class/infiniband"):
        raise CheckSkipped("only RDMA needs it, and there is no RDMA device")
    limit = patient.host_info.locked_bytes
    said = "without limit" if math.isinf(limit) else f"at most {host.amount(limit)}"
    return CheckOutput(said, list(host.locked_memory(patient.host_info)))


def shared_memory(patient: CheckContext, limit_s: float) -> CheckOutput:
    said = _space("/dev/shm", patient.host_info.room("/dev/shm"))
    return CheckOutput(said, list(host.shared_memory(patient.host_info)))


def temporary_space(patient: CheckContext, limit_s: float) -> CheckOutput:
    folder = host.temporary_folder(patient.host_info)
    said = _space(folder, patient.host_info.room(folder))
    return CheckOutput(said, list(host.temporary_space(patient.host_info)))


def _space(folder: str, room: Room | None) -> str:
    if room is None:
        return f"no {folder}"
    return (
        f"{folder}: {host.amount(room.free_bytes)} of {host.amount(room.size_bytes)}"
        " free"
    )


def xla_flags(patient: CheckContext, limit_s: float) -> CheckOutput:
    host_info = patient.host_info
    value = host_info.variable("XLA_FLAGS")
    if not value:
        return CheckOutput("XLA_FLAGS is not set")
    if not host_info.has(flags.KNOWN_FLAGS):
        raise CheckSkipped("outside the image nobody knows the flags")
    names, _ = flags.split(value)
    said = f"XLA_FLAGS: {len(names)} flags" if names else "XLA_FLAGS names a file"
    return CheckOutput(said, list(flags.xla_flags(host_info)))


def image_build(patient: CheckContext, limit_s: float) -> CheckOutput:
    name = image.fingerprint(patient.host_info.path(DESCRIPTION))
    if name is None:
        raise CheckSkipped("not in the image")
    built = patient.host_info.image_facts.get("built", "an unknown day")
    return CheckOutput(f"fingerprint {name}, built {built}")


def own_software(patient: CheckContext, limit_s: float) -> CheckOutput:
    versions = patient.host_info.image_facts.get("versions")
    if not isinstance(versions, dict):
        raise CheckSkipped("not in the image")
    said = ", ".join(f"{k} {versions[k]}" for k in ("python", "jax") if k in versions)
    return CheckOutput(said, list(software.host_packages(patient.host_info)))


def rdma_ports(patient: CheckContext, limit_s: float) -> CheckOutput:
    ports = fabric.read_ports(patient.host_info)
    if not ports:
        raise CheckSkipped("no RDMA device")
    return CheckOutput(fabric.summary(ports), list(fabric.port_troubles(ports)))


def clock(patient: CheckContext, limit_s: float) -> CheckOutput:
    try:
        is_kept = probes.is_clock_kept()
    except OSError as error:
        raise CheckSkipped(str(error)) from error
    if not is_kept:
        raise CheckSkipped("the kernel knows of nothing that keeps it right (NTP, PTP)")
    return CheckOutput("kept right")


def writing(folder: str | None = None) -> Callable[[CheckContext, float], CheckOutput]:
    """A check that writes into a folder; without one, into that for temporary files."""

    def look(patient: CheckContext, limit_s: float) -> CheckOutput:
        name = folder or host.temporary_folder(patient.host_info)
        path = patient.host_info.path(name)
        return CheckOutput(f"1 MiB in {name}", list(probes.write_trouble(path)))

    return look


def jax_import(patient: CheckContext, limit_s: float) -> CheckOutput:
    if patient.host_info.accelerator is None:
        raise CheckSkipped("not in the image")
    ran = probes.import_jax(patient.host_info.environment, limit_s)
    said = f"jax {ran.last_line} in {ran.elapsed_s:.1f} s"
    if ran.status != 0:
        said = "import jax"
    return CheckOutput(said, list(probes.import_trouble(ran, limit_s)))


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
    Check("importing JAX", jax_import, limit_s=60.0, has_own_children=True),
)
