"""Injects this job's fault into a rank and runs the diagnostic in whose place it stands; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import importlib
import os
import runpy
import sys
from pathlib import Path

from fault import mark

mark("start")
module = importlib.import_module(os.environ["FAULT"])
if hasattr(module, "in_rank"):
    module.in_rank(int(os.environ.get("SLURM_PROCID", "0")))
original = Path(os.environ["JAX_SIF_ROOT"], "diag", Path(sys.argv[0]).name)
sys.modules["__main__"].__file__ = str(original)
runpy.run_path(str(original), run_name="__main__")
