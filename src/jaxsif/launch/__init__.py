"""A stand-in for srun on one machine: starts a topology's ranks as Slurm would; runs on a laptop, or in the container."""
# SPDX-License-Identifier: Apache-2.0
