"""Writes a file in one piece, so that nobody ever reads half of it; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from jaxsif.contract.errors import KitError


def write_whole(path: Path, text: str, comfort: str) -> None:
    """Writes `text` to `path`: the file is whole, or is as it was before.

    Raises KitError when it cannot be written; `comfort` says what stands all the same.
    """
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            "w",
            dir=path.parent,
            prefix=f".{path.name}.",
            delete=False,
            encoding="utf-8",
            newline="",
        ) as file:
            temporary = file.name
            file.write(text)
        # NamedTemporaryFile makes it private; a report is for everyone who may read here.
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise KitError(
            f"cannot write {str(path)!r}: {error.strerror}; {comfort}"
        ) from error
