"""Paths in the image, and variables that name the platform and a user's own packages."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

# The image's Python environment with JAX, and the kit's own files. (The shell programs,
# and `start/bundle.py`, which runs before any other module, write them out.)
VENV = "/opt/jax"
KIT = "/opt/jax-sif"
IMAGE_JSON = f"{KIT}/image.json"
BILL_OF_MATERIALS = f"{KIT}/sbom.cdx.json"
IMAGE_PACKAGES = f"{KIT}/packages.txt"
XLA_FLAGS = f"{KIT}/xla_flags.txt"
PLOTLY_JS = f"{KIT}/share/plotly/plotly.min.js"
ENTRY = f"{KIT}/lib/jaxsif/entry"
DIAGNOSTICS = f"{KIT}/diag"

# What the "G" of a topology stands for: "gpu", or "cpu" on a cluster without GPUs.
PLATFORM_VARIABLE = "JAX_SIF_PLATFORM"
# The cluster's network, by its name in job/networks; unset if unknown.
NETWORK_VARIABLE = "JAX_SIF_NETWORK"

# A file that `jax-sif packages create` has written.
PACKAGES_VARIABLE = "JAX_SIF_PACKAGES"
# Set to 1: run them on another image than the one that they were made for.
ANY_IMAGE_VARIABLE = "JAX_SIF_PACKAGES_ANY_IMAGE"
# Empty in the image, and on the path behind its own packages (tools/image_post.sh).
PACKAGES_DIR = f"{KIT}/env"
