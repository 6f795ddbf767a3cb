"""What is true of this node, found without JAX; runs in each rank before JAX starts, and in the doctor."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif.node.start import start_troubles
from jaxsif.node.surroundings import Room, Surroundings, look_around

__all__ = ["Room", "Surroundings", "look_around", "start_troubles"]
