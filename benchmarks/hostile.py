"""Measures time and memory of the parsers of untrusted text on hostile input."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

MOST_S_PER_MB, MOST_MB = 1.0, 200.0
_SIZE = 1_000_000
# A reader that is hurt is ended, not waited for.
_LIMIT_S, _LIMIT_BYTES = 60, 4 << 30

ROOT = Path(__file__).resolve().parent.parent


def _rows(line: str, size: int = _SIZE) -> str:
    return line * (size // len(line))


def _mutated(text: str, seed: int, size: int = _SIZE) -> str:
    """The text again and again, each time with a few characters changed."""
    rng = random.Random(seed)
    parts: list[str] = []
    while len(text) * len(parts) < size:
        characters = list(text)
        for _ in range(8):
            at = rng.randrange(len(characters))
            characters[at] = rng.choice("\x1b\"'\\ \t\n[]{}$()|0-9,:=é")
        parts.append("".join(characters))
    return "".join(parts)


def _record(text: str) -> str:
    return f"@jaxsif1 {zlib.crc32(text.encode()):08x} {text}\n"


_FACTS = '{"phase":"done","rank":%d,"step":"a.1.0.0","node":"n","time":1.0,"x":%s}'
LOGS = sorted(p for p in (ROOT / "tests/logs").iterdir() if p.suffix != ".md")


def logs() -> Iterator[tuple[str, str]]:
    """For verify and explain: a name, and the text."""
    xid = "NVRM: Xid (PCI:0002:00:00): 119, pid=67769, n" + "0" * 4000 + "\n"
    yield "plain triggers", _rows("rror: ab\n")
    yield "Xid and zeros", _rows(xid)
    yield "kernel: kernel:", _rows("a kernel: " * 400 + "NVRM: Xid (PCI:0): 1,\n")
    yield "one line", "x" * _SIZE
    yield "carriage returns", "\r" * _SIZE
    yield "markers", _rows("@jaxsif1 ")
    yield "ends of 262144 tasks", _rows("srun: error: n: tasks 0-262143: Killed\n")
    yield (
        "ends of 200 ranges",
        _rows("srun: error: n: tasks " + "0-999999," * 200 + "1: Killed\n"),
    )
    yield "long numbers", _rows(f"srun: error: n: tasks {'9' * 5000}: Killed\n")
    yield "nested records", _rows(_record("[" * 4000))
    yield (
        "odd records",
        "".join(
            _record(_FACTS % (i % 100, json.dumps(["x" * 50] * (i % 9))))
            for i in range(8000)
        ),
    )
    yield "errors and blanks", _rows("error" + " " * 4000 + "\n")
    yield "all prefixes", _rows("jax-sif: rank 1 on n: srun: error: rror: failed: \n")
    whole = "".join(p.read_text(errors="replace") for p in LOGS)
    yield "real logs, changed", _mutated(whole, 1)


def scripts() -> Iterator[tuple[str, str]]:
    head = "#!/bin/bash\n#SBATCH --nodes=2\n"
    doubled = "".join(f"a{i}=$a{i - 1}$a{i - 1}\n" for i in range(1, 40))
    fill = "#" * _SIZE + "\n"
    yield "doubling variables", head + "a0=xxxxxxxxxx\n" + doubled + fill
    yield "srun lines", head + _rows("srun python x.py\n")
    yield "pipes", head + _rows("cat | ")
    yield "here-documents", head + _rows("cat <<A\nA\n")
    yield "open here-documents", head + _rows("cat <<A\n")
    yield "nested", head + _rows("$(")
    yield "quotes", head + _rows('"$a')
    yield "scripts in words", head + _rows("bash -c 'srun python x.py'\n")
    yield "images", head + _rows("singularity exec --nv $A python x.py\n")
    yield "unfinished arrays", head + _rows("a=(b ")
    yield "directives", head + _rows("#SBATCH -n 4\n")
    yield "components", head + _rows("#SBATCH hetjob\n#SBATCH -n 4\n")
    yield "parts of a step", head + "#SBATCH hetjob\nsrun " + _rows(": ")
    yield "kept statuses", head + _rows("srun ./x\nstatus=$?\n")
    yield "printed lines", head + _rows("echo a\n")
    yield "template", _rows("{% if a %}\n{{ b }}\n") + head
    real = (ROOT / "jobs/allreduce.slurm").read_text()
    yield "a real script, changed", _mutated(real, 2)


def nccl_reports() -> Iterator[tuple[str, str]]:
    yield "blanks", "NCCL INFO Using network a" + " " * _SIZE + "b\n"
    yield "NET/", _rows("NET/") + "\n"
    yield "via NET/", _rows("via NET/a/1 ") + "\n"
    yield "lines", _rows("via NET/a/1 \n")
    yield "newlines", "\n" * _SIZE
    whole = "".join(
        p.read_text(errors="replace")
        for p in sorted((ROOT / "tests/nccl").glob("*.log"))
    )
    yield "real reports, changed", _mutated(whole, 3)


def node_lists() -> Iterator[tuple[str, str]]:
    yield "a product", "n" + "[0-999]" * (_SIZE // 7)
    yield "a sum", "n[" + ",".join(["0-99999"] * (_SIZE // 8)) + "]"
    yield "names", ",".join(["a"] * (_SIZE // 2))
    yield "brackets", "[" * _SIZE
    yield "digits", "n[" + "9" * _SIZE + "]"


def sites() -> Iterator[tuple[str, str]]:
    yield "fields", "".join(f"a{i}: 1\n" for i in range(_SIZE // 10))
    yield "depth", "[" * _SIZE
    yield "aliases", "a: &a [x]\n" + _rows("b: *a\n")


def descriptions() -> Iterator[tuple[str, str]]:
    yield "depth", "[" * _SIZE
    package = '{"name": 1, "version": "2", "sha256": null, "is_asked": true},'
    yield "odd types", '{"schema": 1, "packages": [' + _rows(package) + "]}"


def verdicts() -> Iterator[tuple[str, str]]:
    yield "depth", "[" * _SIZE
    whole = next(iter(sorted((ROOT / "tests/verdicts").glob("*.json")))).read_text()
    yield "a real verdict, changed", _mutated(whole, 4)
    content = json.loads(whole)
    (verdict, *_) = content["verdicts"]
    verdict["ranks"] *= _SIZE // len(json.dumps(verdict["ranks"]))
    yield "the same ranks again", json.dumps(content)


def _command(*words: str) -> list[str]:
    return [sys.executable, "-m", "jaxsif", *words]


def _call(code: str) -> list[str]:
    head = "import sys; text = open(sys.argv[1], errors='replace').read();"
    return [sys.executable, "-c", f"{head} {code}"]


_QUIET = "\ntry: {}\nexcept (ValueError, Exception) as e: print(type(e).__name__)"
_LIST = _call("from jaxsif.core.hostlist import expand" + _QUIET.format("expand(text)"))
_NCCL = _call(
    "from jaxsif.transport.nccl_log import read_report; read_report(text, 'n')"
)
_SITE = _call(
    "from pathlib import Path; from jaxsif.job import configs, schema"
    + _QUIET.format("configs.read(schema.Site, Path(sys.argv[1]))")
)
_ENV = _call(
    "from jaxsif.overlay import manifest"
    + _QUIET.format("manifest.decode(text, '# 0123456789abcdef a')")
)

READERS: dict[str, tuple[list[str], Callable[[], Iterator[tuple[str, str]]]]] = {
    "verify": (_command("verify", "--topology", "G8N2p8"), logs),
    "explain": (_command("explain"), logs),
    "lint": (_command("lint"), scripts),
    "NCCL's report": (_NCCL, nccl_reports),
    "node list": (_LIST, node_lists),
    "site": (_SITE, sites),
    "packages.json": (_ENV, descriptions),
    "report": (_command("report", "--text"), verdicts),
}


def main() -> int:
    """Print a table, or JSON; return 1 if a parser exceeds its limits."""
    results = []
    for reader, (command, texts) in READERS.items():
        for kind, text in texts():
            row = measure(reader, command, kind, text)
            results.append(row)
            print(
                f"{reader:14} {kind:24} {row['s_per_mb']:6.2f} s/MB"
                f" {row['peak_mb']:6.0f} MB  status {row['status']}",
                flush=True,
            )
    print(json.dumps(results))
    bad = [
        r for r in results if r["s_per_mb"] > MOST_S_PER_MB or r["peak_mb"] > MOST_MB
    ]
    return 1 if bad else 0


def measure(reader: str, command: list[str], kind: str, text: str) -> dict:
    """CPU seconds per MB beyond those of an empty input's start, and peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "input.yaml"
        file.write_text(text, errors="replace")
        child = subprocess.Popen(
            [*command, str(file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            preexec_fn=_limit,
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        size_mb = file.stat().st_size / 1e6
    return {
        "reader": reader,
        "kind": kind,
        "mb": round(size_mb, 2),
        "s_per_mb": round((used.ru_utime + used.ru_stime) / size_mb, 2),
        "peak_mb": round(used.ru_maxrss / 1024, 1),
        "status": child.returncode,
    }


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_LIMIT_S, _LIMIT_S))
    resource.setrlimit(resource.RLIMIT_AS, (_LIMIT_BYTES, _LIMIT_BYTES))


if __name__ == "__main__":
    sys.exit(main())
