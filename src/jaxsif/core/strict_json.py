"""JSON that every parser accepts: no NaN, no lone surrogates, limited nesting."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import math
from typing import Any

# A record may be nested arbitrarily; parsers have limits.
_DEEPEST = 32
_TOO_DEEP = "..."


def encode(value: Any, **options: Any) -> str:
    """The value as JSON (RFC 8259), with a newline at its end.

    What is no number is its word there: "nan", "inf", "-inf".
    """
    plain = _plain(value, _DEEPEST)
    return json.dumps(plain, **{"indent": 1, **options}, allow_nan=False) + "\n"


def _plain(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return _whole(value)
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (dict, list, tuple)):
        if not depth:
            return _TOO_DEEP
        if isinstance(value, dict):
            return {_key(k): _plain(v, depth - 1) for k, v in value.items()}
        return [_plain(item, depth - 1) for item in value]
    return value


def _key(key: Any) -> Any:
    return _whole(key) if isinstance(key, str) else key


def _whole(text: str) -> str:
    """Without halves of surrogate pairs, which are no characters."""
    return text if text.isascii() else text.encode(errors="replace").decode()
