"""`jax-sif baseline`: a file of speeds from successful runs."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxsif.bandwidth import baseline as baselines
from jaxsif.bandwidth.baseline import Baseline
from jaxsif.core.atomic_write import atomic_write
from jaxsif.core.errors import UsageError
from jaxsif.core.text import plural
from jaxsif.verdict import render

BASELINE_VARIABLE = "JAX_SIF_BASELINE"
DEFAULT_FILE = "baseline.toml"


def chosen_baseline(
    file: str | None, environment: Mapping[str, str]
) -> Baseline | None:
    """The requested baseline, or None. Raises UsageError."""
    name = file or environment.get(BASELINE_VARIABLE)
    return read(Path(name)) if name else None


def read(path: Path) -> Baseline:
    """Read a baseline. Raises UsageError if the file is unreadable or not a baseline."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the baseline {str(path)!r}: {reason}; jax-sif baseline add"
            " writes one, and the container must see it"
        ) from error
    return baselines.parse(text, str(path))


def add(verdicts: Sequence[str], path: Path) -> int:
    """Add the speeds of successful runs; a missing file is created."""
    baseline = read(path) if path.exists() else Baseline(str(path))
    for name in verdicts:
        try:
            for verdict in _verdicts(name):
                baseline = baselines.with_run_added(baseline, verdict, name)
        except (AttributeError, ArithmeticError, LookupError, TypeError) as error:
            raise UsageError(
                f"{name}: a field is missing or of another type ({error}); give a file"
                " that jax-sif verify --verdict-file has written"
            ) from error
    atomic_write(path, baselines.render(baseline), "it is as it was before")
    sys.stdout.write(
        f"{path}: {plural(len(baseline.runs), 'speed')}, learned from"
        f" {plural(len(verdicts), 'more run')}\n"
    )
    return 0


def show(path: Path) -> int:
    """Print a baseline."""
    sys.stdout.write(baselines.table(read(path)))
    return 0


def _verdicts(name: str) -> list[Mapping[str, Any]]:
    try:
        content = json.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(
            f"cannot read the verdict {name!r}: {reason}; give a file that jax-sif verify"
            " --verdict-file has written"
        ) from error
    if not isinstance(content, dict) or content.get("schema") != render.SCHEMA:
        raise UsageError(
            f"{name} holds no verdict ({render.SCHEMA}); give a file that jax-sif verify"
            " --verdict-file has written"
        )
    found: list[Mapping[str, Any]] = content["verdicts"]
    return found
