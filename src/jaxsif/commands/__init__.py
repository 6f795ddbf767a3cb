"""The names and help of all commands; each is one file here, imported on demand."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

# In the order in which users meet them. A command's file has its name, and a function
# `main(arguments) -> exit status`.
COMMANDS = {
    "job": "print a job script: a topology or profile, a site, a program",
    "accept": "submit every check, and end with one verdict",
    "scale": "run a program on more and more nodes, and show its speed",
    "launch": "start ranks on this machine, as srun would",
    "lint": "name the traps in a job script written by hand",
    "profile": "list or show profiles: what a job needs",
    "site": "list or show sites: what a cluster has; draft one of this cluster",
    "check": "compare a job's allocation with what was asked for, in its script",
    "packages": "put your own packages on top of the image, in one file",
    "run": "start a program as the image does, where there is no image",
    "verify": "judge a job's output",
    "mark": "mark srun's own lines, for jax-sif verify to know them, in a job's script",
    "baseline": "learn speeds from good runs, for jax-sif verify to compare with",
    "explain": "name the cause of a failure from any job's output",
    "report": "make a page of a verdict, or a file for another program",
    "doctor": "examine this node",
    "info": "show what the image holds",
}
