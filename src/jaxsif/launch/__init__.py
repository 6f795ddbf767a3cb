"""Starts the ranks of a topology on this machine, as srun would on a cluster."""
# SPDX-License-Identifier: Apache-2.0
