"""Report the nominal bandwidth of a node's GPUs and network cards, once per node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import importlib
import os

from jaxsif.core.records import FabricRecord, NicInfo, Stamp
from jaxsif.node import HostInfo, inspect_host, nvml
from jaxsif.node.rdma import read_interfaces
from jaxsif.rank.reporter import Reporter

# More ports than any node has; a record's size is limited.
_MAX_PORTS = 40


def report_hardware(reporter: Reporter) -> None:
    """Write one record per node, by its first rank."""
    if reporter.identity.local_rank == 0:
        reporter.emit(fabric(reporter.stamp(), inspect_host(os.environ)))


def fabric(stamp: Stamp, host_info: HostInfo) -> FabricRecord:
    """The record, from the driver and the kernel, without JAX."""
    gpus = _gpus() if host_info.expects_gpus else ()
    speeds = [g.nvlink_gb_per_s for g in gpus if g.nvlink_gb_per_s is not None]
    ports = read_interfaces(host_info)
    return FabricRecord(
        **stamp,
        gpu=gpus[0].name if gpus else None,
        gpus=len(gpus),
        # The slowest: a ring is as fast as its slowest link.
        nvlink_gb_per_s=min(speeds) if speeds else None,
        nics=[
            NicInfo(port.name, port.kind, port.gb_per_s, port.is_active)
            for port in ports[:_MAX_PORTS]
        ],
    )


def _gpus() -> tuple[nvml.Gpu, ...]:
    try:
        # Only the GPU images have it.
        library = importlib.import_module("pynvml")
    except ImportError:
        return ()
    try:
        return nvml.read(library).gpus
    except library.NVMLError:
        return ()
