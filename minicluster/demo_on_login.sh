#!/usr/bin/env bash
# The demo's commands on the login node: load the module, submit the job, read its output.
# SPDX-License-Identifier: Apache-2.0
set -euo pipefail

checkout=$1
cd
module use "$checkout/modulefiles"
version=$(basename "$checkout"/modulefiles/jax-sif/*-cpu.lua .lua)
echo "\$ module load jax-sif/$version"
module load "jax-sif/$version"
echo "\$ sbatch jobs/allreduce.slurm"
status=0
sbatch --quiet --wait --output=demo.out "$checkout/jobs/allreduce.slurm" || status=$?
cat demo.out
exit "$status"
