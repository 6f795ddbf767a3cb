"""The names and help of all commands; each is one file here, imported on demand."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

# In the order in which users meet them. A command's file has its name, and a function
# `main(arguments) -> exit status`.
COMMANDS = {
    "job": "print a job script for a topology or profile, a site and a program",
    "accept": "submit all checks of a cluster, and print one verdict",
    "scale": "measure a program's speed on different numbers of nodes",
    "launch": "start the ranks of a topology on this machine, as srun would",
    "lint": "check a Slurm job script for known mistakes",
    "profile": "list or show profiles (what a job needs)",
    "site": "list or show sites (what a cluster has), or draft one of this cluster",
    "check": "in a job script: compare the allocation with the requested topology",
    "packages": "add your own packages to the image, as one file",
    "run": "start a program as the image does, without an image",
    "verify": "print a job's output, then a verdict",
    "mark": "in a job script: mark srun's messages for jax-sif verify",
    "recover": "experimental: in a job script, start the program again after a failure",
    "nodes": "sum up which nodes ended jobs with restarts",
    "stacks": "show where every rank of a running job is",
    "baseline": "record speeds of successful runs, to compare later runs with",
    "explain": "find the cause of a failure in any job's output",
    "report": "render verdicts as HTML, JUnit XML, CSV or Prometheus metrics",
    "doctor": "check this node",
    "info": "show the versions in the image",
}
