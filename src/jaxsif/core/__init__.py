"""What every part of jax-sif agrees on: topology, identity, records, errors; runs anywhere, standard library only."""
# SPDX-License-Identifier: Apache-2.0
