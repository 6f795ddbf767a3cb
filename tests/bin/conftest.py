"""A node with an image and a container runtime that only prints its arguments."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest


@pytest.fixture
def site(tmp_path):
    """Variables of a node with an image and a runtime that only prints its arguments."""
    runtime = tmp_path / "runtime" / "apptainer"
    runtime.parent.mkdir()
    runtime.write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    runtime.chmod(0o755)
    image = tmp_path / "an image.sif"
    image.touch()
    return {"PATH": f"{runtime.parent}:/usr/bin:/bin", "JAX_IMAGE": str(image)}
