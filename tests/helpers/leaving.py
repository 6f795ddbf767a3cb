"""The beginning of a program whose stand-in for JAX lets it end; used by the tests."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

LEAVES = "import jax, atexit, time; atexit.unregister(time.sleep)\nimport jaxsif\n"
