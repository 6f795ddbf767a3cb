"""The cache folder of the tools; on any machine."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The caller's cache folder; entries are keyed by content."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folder = Path(os.environ.get("JAX_SIF_CACHE") or Path(base) / "jax-sif").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder
