"""Check that every process runs the same program with the same settings and data."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import inspect
import json
import os
import platform
import re
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np

from jaxsif.arrays.comparison import Fingerprint, differences
from jaxsif.arrays.gathering import all_gather_facts
from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.text import shortened
from jaxsif.rank import peers

# JAX's settings that change the numbers or the compiled programs.
_SETTINGS = (
    "jax_cpu_collectives_implementation",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_jit",
    "jax_enable_x64",
    "jax_numpy_dtype_promotion",
    "jax_platforms",
    "jax_random_seed_offset",
    "jax_threefry_partitionable",
    "jax_use_shardy_partitioner",
)
# An object's address in a function's text or a jaxpr differs between processes.
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_MAX_SHOWN = 40


def check_same_program(**values: Any) -> None:
    """Raise KitError in all processes, naming ranks, unless all run the same program.

    Processes that run different programs, or the same with different batch sizes, hang
    in a collective, or compute wrong numbers. Always compared: the program's text and
    arguments, the versions of JAX, jaxlib, numpy and Python, XLA_FLAGS, and JAX's
    settings that change numbers. All processes must call it, at the same point.

    Args:
      **values: what else must be the same, by name: numbers, texts, lists, dicts,
        functions (their text), `jax.jit(f).trace(x)` and `.lower(x)` (the computation),
        arrays of a process (all their values), global arrays (shape, type, sharding).

    Raises UsageError for a value that cannot be compared.
    """
    own = {
        name: fingerprint(value, name)
        for name, value in {**_program_facts(), **values}.items()
    }
    problems = list(differences(*all_gather_facts(own)))
    if problems:
        raise KitError(
            f"the processes do not run the same program: {'. '.join(problems)}; start"
            " every rank with the same program, arguments, environment and data"
        )


def _program_facts() -> dict[str, Any]:
    facts = {
        "the program": peers.program_fingerprint(),
        "its arguments": sys.argv[1:],
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
    known = jax.config.values
    return facts | {name: str(known[name]) for name in _SETTINGS if name in known}


def fingerprint(value: Any, name: str) -> Fingerprint:
    """A digest of a value, and a short text. Raises UsageError if it has none."""
    text, shown = _text(value, name)
    return hashlib.sha256(text.encode()).hexdigest()[:16], shortened(shown, _MAX_SHOWN)


def _text(value: Any, name: str) -> tuple[str, str]:
    """The full text of a value for comparison, and a short one for messages."""
    if value is None or isinstance(
        value, (bool, int, float, complex, str, bytes, Path)
    ):
        return repr(value), repr(value) if not isinstance(value, str) else value or "''"
    if isinstance(value, Mapping):
        parts = {str(k): _text(v, f"{name}[{k!r}]")[0] for k, v in value.items()}
        return json.dumps(parts, sort_keys=True), f"{dict(value)!r}"
    if isinstance(value, (list, tuple)):
        items = [_text(v, f"{name}[{i}]")[0] for i, v in enumerate(value)]
        return json.dumps([type(value).__name__, items]), repr(value)
    if isinstance(value, (jax.Array, np.ndarray, np.generic)):
        return _array_text(value)
    computation = _computation(value)
    if computation is None:
        raise UsageError(
            f"check_same_program() cannot compare {name}, of type"
            f" {type(value).__name__!r}; give numbers, texts, lists, dicts, arrays,"
            " functions, or jax.jit(f).lower(x)"
        )
    digest = hashlib.sha256(computation.encode()).hexdigest()[:8]
    return computation, f"one of digest {digest}"


def _array_text(value: Any) -> tuple[str, str]:
    shown = f"{value.dtype}{list(value.shape)}"
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return f"{shown} {value.sharding}", shown
    content = np.ascontiguousarray(np.asarray(value)).tobytes()
    digest = hashlib.sha256(content).hexdigest()
    return f"{shown} {digest}", f"{shown} of digest {digest[:8]}"


def _computation(value: Any) -> str | None:
    """The text of a function, or of JAX's computation."""
    if isinstance(value, jax.stages.Lowered):
        return str(value.as_text())
    if isinstance(value, jax.stages.Wrapped):
        value = inspect.unwrap(value)
    if isinstance(value, types.FunctionType):
        try:
            return inspect.getsource(value)
        except OSError:
            return value.__code__.co_code.hex() + repr(value.__code__.co_names)
    jaxpr = getattr(value, "jaxpr", None)
    return None if jaxpr is None else _ADDRESS.sub("", str(jaxpr))
