"""Other devices, or other software, than was asked for; pure, runs beside the job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from jaxsif.core.evidence import Case, Finding
from jaxsif.core.history import Story
from jaxsif.core.naming import by_differing, numbers_of, where


def platform_differs(case: Case) -> Iterator[Finding]:
    """CPU where GPUs were asked, or the other way round."""
    by_platform: dict[tuple[str, str], list[Story]] = defaultdict(list)
    for story in case.stories.values():
        asked, got = story.fact("started", "platform"), story.fact("devices", "backend")
        if got is not None and got != asked:
            by_platform[(str(asked), str(got))].append(story)
    for (asked, got), group in by_platform.items():
        yield Finding(
            "platform",
            f"{where(group)}: JAX runs on {got}, {asked} was asked for",
            "start the container with --nv on a node with GPUs; unset JAX_PLATFORMS",
            numbers_of(group),
        )


def devices_untold(case: Case) -> Iterator[Finding]:
    """Ranks that came to their end without a word on their devices."""
    silent = [s for s in case.stories.values() if s.is_done and "devices" not in s.told]
    if silent:
        yield Finding(
            "devices-untold",
            f"{where(silent)} ended well without using JAX's devices:"
            f" {case.topology.devices} were asked for, and nobody counted them",
            "judge a program that computes with JAX, or run diag/query_v1.py",
            numbers_of(silent),
            is_failure=False,
        )


def devices_shared(case: Case) -> Iterator[Finding]:
    """Two ranks, or two devices of one, are the same physical GPU."""
    holders: dict[str, list[Story]] = defaultdict(list)
    for story in case.stories.values():
        for device in story.fact("devices", "local") or ():
            if device.get("uuid"):
                holders[device["uuid"]].append(story)
    for uuid, group in holders.items():
        if len(group) > 1:
            yield Finding(
                "device-shared",
                f"{where(group)}: the same GPU {uuid}",
                "do not set JAX_LOCAL_DEVICE_IDS or CUDA_VISIBLE_DEVICES for all ranks"
                " alike; ask for as many GPUs as there are processes",
                numbers_of(group),
            )


def local_devices_differ(case: Case) -> Iterator[Finding]:
    """A process has more or fewer devices than its share."""
    by_count: dict[int, list[Story]] = defaultdict(list)
    for story in case.stories.values():
        count = story.local_device_count
        if count is not None and count != case.topology.devices_per_process:
            by_count[count].append(story)
    for count, group in by_count.items():
        yield Finding(
            "local-devices",
            f"{where(group)}: {count} local devices,"
            f" {case.topology.devices_per_process} expected",
            f"submit with --gpus-per-node={case.topology.devices_per_node}; JAX_SIF_VERBOSE=1"
            " shows how the image shares them out",
            numbers_of(group),
        )


def total_differs(case: Case) -> Iterator[Finding]:
    """A group has more or fewer devices in all than was asked."""
    for total, group in by_differing(
        case.stories, "devices", "total", {case.topology.devices}
    ):
        yield Finding(
            "total-devices",
            f"{where(group)}: {total} devices in all, {case.topology.devices} expected",
            "see the findings above; the group is not the one that was asked for",
            numbers_of(group),
        )


_VERSIONS = (
    ("started", "image", "image"),
    ("started", "packages", "own packages"),
    ("connected", "jax", "JAX"),
    ("connected", "jaxlib", "jaxlib"),
    ("devices", "nccl", "NCCL"),
)


def versions_differ(case: Case) -> Iterator[Finding]:
    """The ranks do not all run the same software."""
    for phase, name, what in _VERSIONS:
        by_value: dict[Any, list[Story]] = defaultdict(list)
        for story in case.stories.values():
            if phase in story.told:
                by_value[story.fact(phase, name)].append(story)
        if len(by_value) < 2:
            continue
        *few, (common, _) = sorted(by_value.items(), key=lambda item: len(item[1]))
        for value, group in few:
            yield Finding(
                f"{name}-differs",
                f"{where(group)}: {what} {value}, the other ranks have {common}",
                "start every rank with the same $JAX_IMAGE; copies of it on the nodes"
                " may be stale",
                numbers_of(group),
            )
