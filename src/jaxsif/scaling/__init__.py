"""How a program's speed grows with the nodes: the series of jobs, and what came out of it; never imports jax."""
# SPDX-License-Identifier: Apache-2.0
