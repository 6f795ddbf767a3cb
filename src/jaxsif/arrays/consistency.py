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

from jaxsif.arrays.gathering import exchange, own_node
from jaxsif.arrays.wording import Word, differences
from jaxsif.core.errors import KitError, UsageError
from jaxsif.core.text import shortened
from jaxsif.rank import peers

# Of JAX's settings those by which the numbers or the compiled programs change.
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
# Where a function's text or a jaxpr shows an object's address, which is each process's own.
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_MAX_SHOWN = 40


def check_same_program(**things: Any) -> None:
    """Raises KitError in all processes, naming ranks, when they do not run the same.

    Processes that run another program, or the same with another batch size, hang in a
    collective, or compute wrong numbers. Always compared: the program's text and
    arguments, JAX's, jaxlib's, numpy's and Python's versions, XLA_FLAGS, and the settings
    of JAX that change numbers. All processes have to call it, at the same place.

    Args:
      **things: what else has to be the same, by name: numbers, texts, lists, dicts,
        functions (their text), `jax.jit(f).trace(x)` and `.lower(x)` (the computation),
        arrays of a process (all their values), global arrays (shape, type, sharding).

    Raises UsageError for a value that cannot be compared.
    """
    own = {
        name: fingerprint(value, name)
        for name, value in {**_always(), **things}.items()
    }
    info = json.dumps({"node": own_node(), "words": own})
    infos = [json.loads(text) for text in exchange(info)]
    problems = list(
        differences([c["words"] for c in infos], [c["node"] for c in infos])
    )
    if problems:
        raise KitError(
            f"the processes do not run the same program: {'. '.join(problems)}; start"
            " every rank with the same program, arguments, environment and data"
        )


def _always() -> dict[str, Any]:
    found = {
        "the program": peers.program_fingerprint(),
        "its arguments": sys.argv[1:],
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
        "numpy": np.__version__,
        "Python": platform.python_version(),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }
    for name in _SETTINGS:
        if name in jax.config.values:
            found[name] = str(jax.config.values[name])
    return found


def fingerprint(value: Any, name: str) -> Word:
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
        parts_ = [_text(v, f"{name}[{i}]")[0] for i, v in enumerate(value)]
        return json.dumps([type(value).__name__, parts_]), repr(value)
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
    """The text of a function, or of what JAX has made of it."""
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
