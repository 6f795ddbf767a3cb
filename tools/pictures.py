"""Draws docs/pictures: topologies from their labels, and the path of a job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "docs" / "pictures"
COMMAND = "renew them with: python tools/pictures.py"
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "src"))

from jaxsif.core.topology import Topology, parse_topology  # noqa: E402  (needs the path above)

LABELS = ("G4N1p4", "G4N2p4", "G4N2p2", "G4N1p1", "G8N2p4")

# Sizes in pixels: a GPU, its space in the process, and so on outwards.
_GPU_WIDTH, _GPU_HEIGHT, _GPU_GAP = 58, 30, 8
_PROCESS_INSET, _PROCESS_HEAD, _PROCESS_GAP, _MIN_PROCESS_WIDTH = 10, 44, 12, 96
_NODE_INSET, _NODE_HEAD, _NODE_GAP = 14, 30, 44
_PROCESS_HEIGHT = _PROCESS_HEAD + _GPU_HEIGHT + _PROCESS_INSET
_NODE_HEIGHT = _NODE_HEAD + _PROCESS_HEIGHT + _NODE_INSET

# No background, and colours that suit a light and a dark page.
_STYLE = """
  svg { color: #24292f; font: 13px system-ui, sans-serif; }
  text { fill: currentColor; } .name { font-weight: 600; } .quiet { opacity: .75; font-size: 12px; }
  .node { stroke: currentColor; stroke-opacity: .6; fill: currentColor; fill-opacity: .04; }
  .process { stroke: #0072b2; fill: #0072b2; fill-opacity: .12; }
  .gpu { stroke: #00805e; fill: #00805e; fill-opacity: .2; }
  .way { stroke: currentColor; stroke-opacity: .7; fill: none; }
  .head { fill: currentColor; fill-opacity: .7; }
  @media (prefers-color-scheme: dark) {
    svg { color: #e6edf3; }
    .process { stroke: #5cb8ff; fill: #5cb8ff; }
    .gpu { stroke: #3fd0a4; fill: #3fd0a4; }
  }
"""


def topology_svg(topology: Topology) -> str:
    """Draw nodes side by side, their processes in them, and each process's GPUs."""
    step = _node_width(topology) + _NODE_GAP
    parts = []
    for node in range(topology.nodes):
        if node:
            left, middle = 1 + node * step, 1 + _NODE_HEIGHT / 2
            parts.append(_line(left - _NODE_GAP, middle, left, middle))
        parts += _node(topology, node, 1 + node * step)
    width = topology.nodes * step - _NODE_GAP + 2
    return _drawing(width, _NODE_HEIGHT + 2, topology_title(topology), parts)


def topology_title(topology: Topology) -> str:
    """Describe the picture in a sentence, as its alternative text."""
    return (
        f"{topology.label}: {_count(topology.nodes, 'node')} with"
        f" {_count(topology.processes_per_node, 'process', 'processes')} each,"
        f" {_count(topology.devices_per_process, 'GPU')} in each process"
    )


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or f'{one}s'}"


def _node(topology: Topology, node: int, left: float) -> list[str]:
    parts = [
        _box("node", left, 1, _node_width(topology), _NODE_HEIGHT),
        _text(left + _NODE_INSET, 21, f"node{node + 1}", "name"),
    ]
    ranks = [r for r in range(topology.processes) if topology.node_index(r) == node]
    for local_rank, rank in enumerate(ranks):
        step = _process_width(topology) + _PROCESS_GAP
        parts += _process(
            topology, rank, local_rank, left + _NODE_INSET + local_rank * step
        )
    return parts


def _process(topology: Topology, rank: int, local_rank: int, left: float) -> list[str]:
    top, width = 1 + _NODE_HEAD, _process_width(topology)
    gpus = topology.devices_per_process
    row = gpus * (_GPU_WIDTH + _GPU_GAP) - _GPU_GAP
    parts = [
        _box("process", left, top, width, _PROCESS_HEIGHT),
        _text(left + _PROCESS_INSET, top + 18, f"rank {rank}", "name"),
        _text(left + _PROCESS_INSET, top + 35, f"local rank {local_rank}", "quiet"),
    ]
    for index in range(gpus):
        x = left + (width - row) / 2 + index * (_GPU_WIDTH + _GPU_GAP)
        # As the image's entry assigns them: the first process has the first GPUs.
        number = local_rank * gpus + index
        parts.append(_box("gpu", x, top + _PROCESS_HEAD, _GPU_WIDTH, _GPU_HEIGHT))
        middle = x + _GPU_WIDTH / 2
        parts.append(
            _text(middle, top + _PROCESS_HEAD + 20, f"GPU {number}", anchor="middle")
        )
    return parts


def _process_width(topology: Topology) -> float:
    row = topology.devices_per_process * (_GPU_WIDTH + _GPU_GAP) - _GPU_GAP
    return max(row + 2 * _PROCESS_INSET, _MIN_PROCESS_WIDTH)


def _node_width(topology: Topology) -> float:
    step = _process_width(topology) + _PROCESS_GAP
    return topology.processes_per_node * step - _PROCESS_GAP + 2 * _NODE_INSET


# The path of a job: boxes as (kind, left, top, width, height, lines), arrows as points.
_HOW_BOXES = (
    ("node", 1, 1, 200, 86, ()),
    ("process", 15, 37, 172, 38, ("sbatch train.slurm",)),
    ("gpu", 426, 37, 158, 38, ("PASS or FAIL",)),
    ("node", 1, 127, 598, 105, ()),
    ("process", 15, 163, 172, 57, ("jax-sif check", "commands/check.py")),
    ("process", 227, 163, 90, 57, ("srun",)),
    ("process", 426, 163, 158, 57, ("jax-sif verify", "verify.py, verdict/")),
    ("node", 1, 282, 598, 126, ()),
    (
        "process",
        15,
        318,
        172,
        76,
        ("the image's entry", "port, GPUs, certificates", "entry"),
    ),
    (
        "process",
        207,
        318,
        199,
        76,
        ("initialize_distributed()", "checks node and peers", "rank/, node/"),
    ),
    (
        "process",
        426,
        318,
        158,
        76,
        ("your program", "with a watchdog", "rank/watchdog.py"),
    ),
)
_HOW_ARROWS = (
    ((101, 75), (101, 163)),
    ((187, 191), (227, 191)),
    ((272, 220), (272, 257), (101, 257), (101, 318)),
    ((187, 356), (207, 356)),
    ((406, 356), (426, 356)),
    ((505, 318), (505, 220)),
    ((505, 163), (505, 75)),
)
# Beside the arrows, which would cross them.
_HOW_TITLES = (
    (13, 25, "login node"),
    (113, 151, "first node of the job: its script"),
    (113, 306, "every node: one container per rank"),
)
_HOW_LABELS = (
    (495, 261, "output with records"),
    (495, 110, "verdict, the job's exit status"),
)
HOW_DESCRIPTION = (
    "sbatch submits the script to Slurm; on the first node it checks the allocation,"
    " and srun starts one container per rank on every node; in it run the image's"
    " entry, the checks, and the program with its watchdog; the output of all ranks is"
    " read by jax-sif verify, which ends with the verdict"
)


def how_svg() -> str:
    """Draw a job from sbatch to the verdict."""
    parts = [_arrow(points) for points in _HOW_ARROWS]
    for kind, left, top, width, height, lines in _HOW_BOXES:
        parts.append(_box(kind, left, top, width, height))
        for number, line in enumerate(lines):
            x, y = left + 12, top + 24 + number * 19
            parts.append(_text(x, y, line, "quiet" if number else "name"))
    parts += [_text(x, y, text, "name") for x, y, text in _HOW_TITLES]
    parts += [_text(x, y, text, "quiet", anchor="end") for x, y, text in _HOW_LABELS]
    return _drawing(600, 409, HOW_DESCRIPTION, parts)


def pictures() -> dict[str, str]:
    """Return the SVG of each picture by file name."""
    drawn = {f"{label}.svg": topology_svg(parse_topology(label)) for label in LABELS}
    return {**drawn, "how.svg": how_svg()}


def _drawing(width: float, height: float, title: str, parts: list[str]) -> str:
    size = f'width="{width:g}" height="{height:g}" viewBox="0 0 {width:g} {height:g}"'
    return "\n".join(
        [
            "<!-- Drawn by tools/pictures.py; shown by the pages of docs/. -->",
            "<!-- SPDX-License-Identifier: Apache-2.0 -->",
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{_STYLE}</style>",
            *parts,
            "</svg>\n",
        ]
    )


def _box(kind: str, left: float, top: float, width: float, height: float) -> str:
    return (
        f'<rect class="{kind}" x="{left:g}" y="{top:g}" width="{width:g}"'
        f' height="{height:g}" rx="5"/>'
    )


def _text(
    x: float, y: float, text: str, kind: str = "", *, anchor: str = "start"
) -> str:
    place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}"'
    return f'<text {place} class="{kind}">{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<path class="way" d="M{x1:g},{y1:g} L{x2:g},{y2:g}"/>'


def _arrow(points: tuple[tuple[float, float], ...]) -> str:
    way = " L".join(f"{x:g},{y:g}" for x, y in points)
    (x0, y0), (x, y) = points[-2:]
    dx, dy = (x > x0) - (x < x0), (y > y0) - (y < y0)
    corners = (
        (x, y),
        (x - 8 * dx - 4 * dy, y - 8 * dy - 4 * dx),
        (x - 8 * dx + 4 * dy, y - 8 * dy + 4 * dx),
    )
    head = " L".join(f"{cx:g},{cy:g}" for cx, cy in corners)
    return f'<path class="way" d="M{way}"/><path class="head" d="M{head} Z"/>'


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in pictures().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
