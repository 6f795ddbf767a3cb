"""Path and variables of a user's own packages in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

# A file that `jax-sif packages create` has written.
PACKAGES_VARIABLE = "JAX_SIF_PACKAGES"
# Set to 1: run them on another image than the one that they were made for.
ANY_IMAGE_VARIABLE = "JAX_SIF_PACKAGES_ANY_IMAGE"
# Empty in the image, and on the path behind its own packages (tools/image_post.sh).
PACKAGES_FOLDER = "/opt/jax-sif/env"
