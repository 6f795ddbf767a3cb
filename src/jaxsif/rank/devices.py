"""Identify a rank's physical devices."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import ctypes
import uuid
from collections.abc import Mapping
from typing import Any

import jax


def with_uuids(
    node: str, environment: Mapping[str, str]
) -> list[tuple[Any, str | None]]:
    """Each local device with a name that is unique in the cluster.

    For a GPU this is the driver's UUID. If CPU devices stand in for GPUs it is the node
    and the number of the GPU that Slurm assigned. None: unknown.
    """
    local = jax.local_devices()
    if jax.default_backend() == "gpu":
        return [(device, _cuda_uuid(device.local_hardware_id)) for device in local]
    assigned = _assigned_gpus(environment)
    return [
        (device, f"{node}/gpu{assigned[i]}" if i < len(assigned) else None)
        for i, device in enumerate(local)
    ]


def _assigned_gpus(environment: Mapping[str, str]) -> list[str]:
    """The numbers of this rank's GPUs, as Slurm wrote them."""
    visible = [g for g in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if g]
    ordinals = environment.get("JAX_LOCAL_DEVICE_IDS")
    if not ordinals:
        return []
    return [visible[i] for i in map(int, ordinals.split(",")) if i < len(visible)]


def _cuda_uuid(ordinal: int) -> str | None:
    """The UUID of a GPU by its number within CUDA_VISIBLE_DEVICES.

    Source: cuDeviceGetUuid of the CUDA driver API, which `nvidia-smi -L` agrees with.
    """
    try:
        cuda = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    device, raw = ctypes.c_int(), (ctypes.c_ubyte * 16)()
    if cuda.cuInit(0) or cuda.cuDeviceGet(ctypes.byref(device), ordinal):
        return None
    if cuda.cuDeviceGetUuid_v2(ctypes.byref(raw), device):
        return None
    return f"GPU-{uuid.UUID(bytes=bytes(raw))}"


def nccl_version() -> str | None:
    """The version of the loaded NCCL, e.g. `2.32.3`."""
    if jax.default_backend() != "gpu":
        return None
    try:
        nccl = ctypes.CDLL("libnccl.so.2")
    except OSError:
        return None
    version = ctypes.c_int()
    if nccl.ncclGetVersion(ctypes.byref(version)):
        return None
    # NCCL 2.9 and later count 10000 x major + 100 x minor + patch.
    major, rest = divmod(version.value, 10000)
    return f"{major}.{rest // 100}.{rest % 100}"
