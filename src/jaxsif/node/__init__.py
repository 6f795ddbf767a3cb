"""Checks of a node without JAX, in each rank before JAX starts and in the doctor."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif.node.host import DiskSpace, HostInfo, inspect_host
from jaxsif.node.start_checks import start_problems

__all__ = ["DiskSpace", "HostInfo", "inspect_host", "start_problems"]
