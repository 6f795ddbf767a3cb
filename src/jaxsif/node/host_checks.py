"""The doctor's checks of names, limits, folders, software and network; run on a node, without a GPU too."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from jaxsif.core import image
from jaxsif.node import fabric, flags, host, probes, software
from jaxsif.node.checks import Check, Found, Patient
from jaxsif.node.host_info import DESCRIPTION, Room
from jaxsif.node.isolate import NotChecked


def own_name(patient: Patient, limit_s: float) -> Found:
    surroundings = patient.surroundings
    addresses = surroundings.resolve(surroundings.host_name)
    known = replace(surroundings, resolve=lambda name: addresses)
    said = f"{surroundings.host_name} is {addresses[0] if addresses else 'unknown'}"
    return Found(said, list(host.own_name(known)))


def open_files(patient: Patient, limit_s: float) -> Found:
    limit = patient.surroundings.open_files
    said = "without limit" if math.isinf(limit) else f"at most {limit:.0f}"
    return Found(said, list(host.open_files(patient.surroundings)))


def locked_memory(patient: Patient, limit_s: float) -> Found:
    if not patient.surroundings.names("/sys/class/infiniband"):
        raise NotChecked("only RDMA needs it, and there is no RDMA device")
    limit = patient.surroundings.locked_bytes
    said = "without limit" if math.isinf(limit) else f"at most {host.amount(limit)}"
    return Found(said, list(host.locked_memory(patient.surroundings)))


def shared_memory(patient: Patient, limit_s: float) -> Found:
    said = _space("/dev/shm", patient.surroundings.room("/dev/shm"))
    return Found(said, list(host.shared_memory(patient.surroundings)))


def temporary_space(patient: Patient, limit_s: float) -> Found:
    folder = host.temporary_folder(patient.surroundings)
    said = _space(folder, patient.surroundings.room(folder))
    return Found(said, list(host.temporary_space(patient.surroundings)))


def _space(folder: str, room: Room | None) -> str:
    if room is None:
        return f"no {folder}"
    return (
        f"{folder}: {host.amount(room.free_bytes)} of {host.amount(room.size_bytes)}"
        " free"
    )


def xla_flags(patient: Patient, limit_s: float) -> Found:
    surroundings = patient.surroundings
    value = surroundings.variable("XLA_FLAGS")
    if not value:
        return Found("XLA_FLAGS is not set")
    if not surroundings.has(flags.KNOWN_FLAGS):
        raise NotChecked("outside the image nobody knows the flags")
    names, _ = flags.split(value)
    said = f"XLA_FLAGS: {len(names)} flags" if names else "XLA_FLAGS names a file"
    return Found(said, list(flags.xla_flags(surroundings)))


def image_build(patient: Patient, limit_s: float) -> Found:
    name = image.fingerprint(patient.surroundings.path(DESCRIPTION))
    if name is None:
        raise NotChecked("not in the image")
    built = patient.surroundings.image_facts.get("built", "an unknown day")
    return Found(f"fingerprint {name}, built {built}")


def own_software(patient: Patient, limit_s: float) -> Found:
    versions = patient.surroundings.image_facts.get("versions")
    if not isinstance(versions, dict):
        raise NotChecked("not in the image")
    said = ", ".join(f"{k} {versions[k]}" for k in ("python", "jax") if k in versions)
    return Found(said, list(software.host_leak(patient.surroundings)))


def rdma_ports(patient: Patient, limit_s: float) -> Found:
    ports = fabric.read_ports(patient.surroundings)
    if not ports:
        raise NotChecked("no RDMA device")
    return Found(fabric.summary(ports), list(fabric.port_troubles(ports)))


def clock(patient: Patient, limit_s: float) -> Found:
    try:
        is_kept = probes.is_clock_kept()
    except OSError as error:
        raise NotChecked(str(error)) from error
    if not is_kept:
        raise NotChecked("the kernel knows of nothing that keeps it right (NTP, PTP)")
    return Found("kept right")


def writing(folder: str | None = None) -> Callable[[Patient, float], Found]:
    """A check that writes into a folder; without one, into that for temporary files."""

    def look(patient: Patient, limit_s: float) -> Found:
        name = folder or host.temporary_folder(patient.surroundings)
        path = patient.surroundings.path(name)
        return Found(f"1 MiB in {name}", list(probes.write_trouble(path)))

    return look


def jax_import(patient: Patient, limit_s: float) -> Found:
    if patient.surroundings.accelerator is None:
        raise NotChecked("not in the image")
    ran = probes.import_jax(patient.surroundings.environment, limit_s)
    said = f"jax {ran.last_line} in {ran.elapsed_s:.1f} s"
    if ran.status != 0:
        said = "import jax"
    return Found(said, list(probes.import_trouble(ran, limit_s)))


QUICK = (
    Check("own name", own_name, limit_s=5.0),
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
