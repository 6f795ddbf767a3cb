"""Recognizes from a script's words whether it runs JAX or another framework."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence

JAX, OTHER = "jax", "other"

# Words of a script in lower case. A search for words is many times faster than one for
# an expression without regard to case.
_JAX_WORDS = (
    *("jax", "flax", "netket", "maxtext", "t5x", "paxml", "praxis", "numpyro", "orbax"),
    *("alphafold3", "alphafold-3", "alphafold_3", "haiku", "levanter", "big_vision"),
    *("openpi", "xla_python_client", "xla_client_mem"),
)
_OTHER_WORDS = (
    *("torch", "lightning", "deepspeed", "megatron", "nemo", "accelerate", "horovod"),
    *("tensorflow", "keras", "master_addr", "master_port", "world_size", "vllm"),
    *(
        "sglang",
        "transformers",
        "huggingface",
        "hf_home",
        "hf_token",
        "hf_hub",
        "paddle",
    ),
    *("mxnet", "rapids", "dask", "cupy", "nnunet", "monai", "detectron", "mmseg"),
    *("yolo", "gromacs", "lammps", "openmm", "amber", "namd", "espresso"),
)


def framework_of(lines: Sequence[str]) -> str:
    """Return JAX if a script names it, OTHER if it names another one only, or ""."""
    text = "\n".join(lines).lower()
    if any(word in text for word in _JAX_WORDS):
        return JAX
    return OTHER if any(word in text for word in _OTHER_WORDS) else ""


# How a program of another system's jobs begins: a directive, or a statement of its own.
_BATCH_SYSTEMS = {
    "PBS": re.compile(r"#PBS\s"),
    "LSF": re.compile(r"#BSUB\s"),
    "Grid Engine": re.compile(r"#\$\s+-\w"),
    "Flux": re.compile(r"#\s?flux:\s", re.IGNORECASE),
    "Cobalt": re.compile(r"#COBALT\s"),
    "Fujitsu's batch system": re.compile(r"#PJM\s"),
    "OAR": re.compile(r"#OAR\s"),
    "HTCondor": re.compile(r"(?:universe|executable|queue\b)\s*(?:=.*|\d*)$", re.I),
}


def batch_system_of(lines: Sequence[str]) -> tuple[str, int] | None:
    """Return the batch system other than Slurm for which it is, and the line of that."""
    if any(line.startswith("#SBATCH") for line in lines):
        return None
    # A submit file of HTCondor is no script.
    is_script = any(line.startswith("#!") for line in lines[:1])
    for number, line in enumerate(lines, start=1):
        if is_script and not line.startswith("#"):
            continue
        for name, directive in _BATCH_SYSTEMS.items():
            if directive.match(line) and not (is_script and name == "HTCondor"):
                return name, number
    return None
