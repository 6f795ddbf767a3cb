"""Checks of devices and software versions."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from jaxsif.core.evidence import Finding, StepEvidence, group_by_value, ranks_of, where
from jaxsif.core.history import RankHistory
from jaxsif.core.records import (
    ConnectedRecord,
    DevicesRecord,
    PhaseRecord,
    StartedRecord,
)


def platform_differs(case: StepEvidence) -> Iterator[Finding]:
    """JAX runs on CPU instead of the requested GPUs, or vice versa."""
    by_platform: dict[tuple[str, str], list[RankHistory]] = defaultdict(list)
    for history in case.histories.values():
        requested = history.started.platform if history.started else "nothing"
        got = history.devices.backend if history.devices else requested
        if got != requested:
            by_platform[requested, got].append(history)
    for (requested, got), group in by_platform.items():
        yield Finding(
            "platform",
            f"{where(group)}: JAX runs on {got}, {requested} was requested",
            "start the container with --nv on a node with GPUs; unset JAX_PLATFORMS",
            ranks_of(group),
        )


def devices_not_reported(case: StepEvidence) -> Iterator[Finding]:
    """Ranks that finished without reporting their devices."""
    silent = [s for s in case.histories.values() if s.is_done and not s.devices]
    if silent:
        yield Finding(
            "devices-not-reported",
            f"{where(silent)} succeeded but never reported JAX devices"
            f" ({case.topology.devices} requested)",
            "verify a program that computes with JAX, or run diag/query_v1.py",
            ranks_of(silent),
            is_failure=False,
        )


def shared_devices(case: StepEvidence) -> Iterator[Finding]:
    """Two ranks, or two devices of one, are the same physical GPU."""
    holders: dict[str, list[RankHistory]] = defaultdict(list)
    for history in case.histories.values():
        for device in history.devices.local_devices if history.devices else ():
            if device.uuid:
                holders[device.uuid].append(history)
    for uuid, group in holders.items():
        if len(group) > 1:
            yield Finding(
                "device-shared",
                f"{where(group)}: the same GPU {uuid}",
                "do not set JAX_LOCAL_DEVICE_IDS or CUDA_VISIBLE_DEVICES for all ranks"
                " alike; request one GPU per process",
                ranks_of(group),
            )


def local_devices_differ(case: StepEvidence) -> Iterator[Finding]:
    """A process has more or fewer devices than the topology assigns."""
    for count, group in group_by_value(
        case.histories,
        lambda h: h.devices.local_count if h.devices else None,
        {case.topology.devices_per_process},
    ):
        yield Finding(
            "local-devices",
            f"{where(group)}: {count} local devices,"
            f" {case.topology.devices_per_process} expected",
            f"submit with --gpus-per-node={case.topology.devices_per_node};"
            " JAX_SIF_VERBOSE=1 shows how the image distributes them",
            ranks_of(group),
        )


def unexpected_device_total(case: StepEvidence) -> Iterator[Finding]:
    """A group has more or fewer devices in total than requested."""
    for total, group in group_by_value(
        case.histories,
        lambda h: h.devices.total if h.devices else None,
        {case.topology.devices},
    ):
        yield Finding(
            "total-devices",
            f"{where(group)}: {total} devices in all, {case.topology.devices} expected",
            "see the findings above; this is not the requested group",
            ranks_of(group),
        )


# The record, its field, and the software.
_VERSIONS: tuple[tuple[type[PhaseRecord], str, str], ...] = (
    (StartedRecord, "image", "image"),
    (StartedRecord, "packages", "own packages"),
    (ConnectedRecord, "jax", "JAX"),
    (ConnectedRecord, "jaxlib", "jaxlib"),
    (DevicesRecord, "nccl", "NCCL"),
)


def versions_differ(case: StepEvidence) -> Iterator[Finding]:
    """The ranks do not all run the same software."""
    for kind, name, what in _VERSIONS:
        by_value: dict[str | None, list[RankHistory]] = defaultdict(list)
        for history in case.histories.values():
            record = history.last(kind)
            if record is not None:
                by_value[getattr(record, name)].append(history)
        if len(by_value) < 2:
            continue
        *minority, (common, _) = sorted(by_value.items(), key=lambda item: len(item[1]))
        for value, group in minority:
            yield Finding(
                f"{name}-differs",
                f"{where(group)}: {what} {value}, the other ranks have {common}",
                "start every rank with the same $JAX_IMAGE; copies of it on the nodes"
                " may be stale",
                ranks_of(group),
            )
