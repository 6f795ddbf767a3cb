"""Finds known mistakes in Slurm job scripts: text in, findings out. No JAX."""
# SPDX-License-Identifier: Apache-2.0
