"""Scaling studies: jobs on more and more nodes, and their results. Never imports jax."""
# SPDX-License-Identifier: Apache-2.0
