"""Small wheels, and stand-ins for squashfs-tools, for the tests of packages."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path


def wheel(
    folder: Path,
    name: str,
    version: str,
    *requires: str,
    scripts: Sequence[str] = (),
    tag: str = "py3-none-any",
    python: str = ">=3.9",
    module: str | None = None,
) -> Path:
    """A wheel whose one module has `main()`, which prints the module's name."""
    facts = f"{name}-{version}.dist-info"
    needs = "".join(f"Requires-Dist: {line}\n" for line in requires)
    files = {
        f"{module or name}/__init__.py": f"def main():\n    print({name!r}, {version!r})\n",
        f"{facts}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        f"Requires-Python: {python}\n{needs}",
        f"{facts}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\n"
        f"Tag: {tag}\n",
    }
    if scripts:
        lines = "".join(f"{script} = {name}:main\n" for script in scripts)
        files[f"{facts}/entry_points.txt"] = f"[console_scripts]\n{lines}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        record = ""
        for place, text in files.items():
            archive.writestr(zipfile.ZipInfo(place), text)
            checksum = hashlib.sha256(text.encode()).digest()
            encoded = base64.urlsafe_b64encode(checksum).rstrip(b"=").decode()
            record += f"{place},sha256={encoded},{len(text)}\n"
        archive.writestr(
            zipfile.ZipInfo(f"{facts}/RECORD"), f"{record}{facts}/RECORD,,\n"
        )
    return path


# As strict as the real ones about what they are given, and without compression: the
# magic number of squashfs, and a tar behind it.
_MKSQUASHFS = r"""#!/bin/sh
set -eu
from=$1 to=$2
case " $* " in *" -noappend "*" -all-root "*) ;; *) echo "unknown words: $*" >&2; exit 1 ;; esac
if [ -n "${SOURCE_DATE_EPOCH:-}" ]; then echo "two times" >&2; exit 1; fi
if [ -n "${FAKE_FULL_DISK:-}" ]; then
  printf hsqs > "$to"
  echo "Write failed because No space left on device" >&2
  exit 1
fi
{ printf hsqs; tar -C "$from" -cf - .; } > "$to"
"""
_UNSQUASHFS = r"""#!/bin/sh
set -eu
case $1 in
  -cat) tail -c +5 "$2" | tar -xOf - "./$3" ;;
  -quiet)
    folder=$5 file=$6
    [ "$4" = -d ] || { echo "unknown words: $*" >&2; exit 1; }
    mkdir "$folder"
    shift 6
    for pattern; do tail -c +5 "$file" | tar -C "$folder" --wildcards -xf - "./$pattern"; done
    ;;
  *) echo "unknown words: $*" >&2; exit 1 ;;
esac
"""


def put_squashfs_tools(folder: Path) -> Path:
    """A folder for PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("mksquashfs", _MKSQUASHFS), ("unsquashfs", _UNSQUASHFS)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder
