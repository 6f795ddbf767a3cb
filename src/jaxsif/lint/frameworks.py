"""Recognizes from a script's words whether it runs JAX or another framework."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Sequence

JAX, OTHER = "jax", "other"

_JAX_RE = re.compile(
    r"jax|\bflax\b|netket|maxtext|\bt5x\b|paxml|praxis|numpyro|orbax|alphafold_?-?3"
    r"|haiku|levanter|big_vision|openpi|XLA_PYTHON_CLIENT|XLA_CLIENT_MEM",
    re.IGNORECASE,
)
_OTHER_RE = re.compile(
    r"torch|lightning|deepspeed|megatron|\bnemo\b|accelerate|horovod|tensorflow"
    r"|\bkeras\b|MASTER_ADDR|MASTER_PORT|WORLD_SIZE|vllm|sglang|transformers|huggingface"
    r"|\bHF_|paddle|mxnet|rapids|dask|cupy|nnunet|monai|detectron|mmseg|yolo"
    r"|gromacs|lammps|\bnamd|\bamber|openmm|espresso",
    re.IGNORECASE,
)


def framework_of(lines: Sequence[str]) -> str:
    """Return JAX if a script names it, OTHER if it names another one only, or ""."""
    text = "\n".join(lines)
    if _JAX_RE.search(text):
        return JAX
    return OTHER if _OTHER_RE.search(text) else ""


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
        for name, directive in _BATCH_SYSTEMS.items():
            if directive.match(line) and not (is_script and name == "HTCondor"):
                return name, number
    return None
