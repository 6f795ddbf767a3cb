"""What is true of this node, found without JAX; runs in each rank before JAX starts, and in the doctor."""
# SPDX-License-Identifier: Apache-2.0

from jaxsif.node.host_info import Room, Surroundings, look_around
from jaxsif.node.start_checks import start_troubles

__all__ = ["Room", "Surroundings", "look_around", "start_troubles"]
