"""Joins its group by the three lines of the README and prints what it got; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os

from jaxsif import initialize_distributed

info = initialize_distributed()
label = info.topology and info.topology.label
ids = os.environ.get("JAX_LOCAL_DEVICE_IDS")
print(f"{info} ({info.launcher}, {label}, GPUs {ids})", flush=True)
