"""A rank's run, in a process of its own; a stand-in for JAX takes JAX's place."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import subprocess
import sys

import pytest
from checkout import SRC

# What the session asks of JAX: whose process it is, and a shutdown that never ends.
JAX = """
import atexit, time
__version__ = "1.0"
def process_index(): raise AssertionError("the program chooses its devices later")
local_device_count = device_count = lambda: 2
atexit.register(time.sleep, 60)
"""
# The private room that knows whether a device was used.
BRIDGE = "backends_are_initialized = lambda: False\n"
STATE = """
class global_state:
    client, process_id, num_processes = None, 0, 1
"""
JAXLIB = "class version:\n    __version__ = '1.0'\n"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "jax" / "_src").mkdir(parents=True)
    for name, text in (
        ("jax/__init__", JAX),
        ("jax/_src/__init__", ""),
        ("jax/_src/xla_bridge", BRIDGE),
        ("jax/_src/distributed", STATE),
        ("jaxlib", JAXLIB),
    ):
        (tmp_path / f"{name}.py").write_text(text)

    def run(
        program: str, sitecustomize: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        (tmp_path / "sitecustomize.py").write_text(sitecustomize)
        file = tmp_path / "program.py"
        file.write_text(
            f"from jaxsif import initialize_distributed\n"
            f"info = initialize_distributed()\n{program}"
        )
        return subprocess.run(
            [sys.executable, file],
            env={
                "PYTHONPATH": f"{SRC}:{tmp_path}",
                "HOME": str(tmp_path),
                "JAX_SIF_TOPOLOGY": "G1N1p1",
                "JAX_PLATFORMS": "cpu",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=20,
        )

    return run
