"""Whether the ranks that met are the right ones and alike, and where each is; through JAX's key-value store, in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
import os
import sys
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxsif.core import image
from jaxsif.core.problem import Problem
from jaxsif.core.slurm_env import Identity

# Each rank writes one card and reads one word; only rank 0 reads all cards. So the
# traffic grows with the ranks and no faster.
_INFO_PREFIX = "jaxsif/card/"
_REPLY_KEY = "jaxsif/word"
_POSITION_PREFIX = "jaxsif/place/"

# From the moment at which JAX has connected all ranks.
_PEER_INFO_TIMEOUT_S = 10.0
_MAX_NAMED = 8

PeerInfo = dict[str, Any]


def card(identity: Identity) -> PeerInfo:
    """What a rank says of itself to the others of its group."""
    import jax
    import jaxlib

    return {
        "step": identity.step,
        "rank": identity.rank,
        "node": identity.node,
        "program": program_fingerprint(),
        "image": image.fingerprint(),
        "packages": image.fingerprint(image.PACKAGES_DESCRIPTION),
        "jax": jax.__version__,
        "jaxlib": jaxlib.version.__version__,
    }


def program_fingerprint() -> str | None:
    """A short name of the program's text, as `train.py 1a2b3c4d`; None if it has none."""
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    # Reading /dev/stdin, or another pipe, would take from the program what it reads.
    if not isinstance(path, str) or not os.path.isfile(path):
        return None
    try:
        return f"{Path(path).name} {zlib.crc32(Path(path).read_bytes()):08x}"
    except OSError:
        return None


def meet(client: Any, identity: Identity) -> list[Problem]:
    """Exchanges the cards. Returns what is wrong, for rank 0 to tell, or for the rank
    that is in a foreign group.

    Args:
      client: JAX's client of the coordinator (`jax._src.distributed.global_state`, the
        only way to its key-value store; there is no public one).
    """
    mine = card(identity)
    client.key_value_set(f"{_INFO_PREFIX}{identity.rank}", json.dumps(mine), True)
    if identity.rank:
        limit_ms = int(_PEER_INFO_TIMEOUT_S * 2000)
        return _wait_for_reply(client, identity, limit_ms)
    cards = _all_cards(client, identity.processes)
    problems = list(compare_peer_info(cards, mine, identity.processes))
    word = {"step": identity.step, "node": identity.node, "is_well": not problems}
    client.key_value_set(_REPLY_KEY, json.dumps(word), True)
    return problems


def _wait_for_reply(client: Any, identity: Identity, limit_ms: int) -> list[Problem]:
    word = json.loads(client.blocking_key_value_get(_REPLY_KEY, limit_ms))
    if word["step"] != identity.step:
        return [
            Problem(
                "foreign-group",
                f"the coordinator is that of step {word['step']} on {word['node']}, this"
                f" is step {identity.step}",
                "two steps share a coordinator's address: let the image set"
                " JAX_COORDINATOR_PORT, and leave JAX_SIF_TLS on",
            )
        ]
    if not word["is_well"]:
        # Rank 0 says why and ends the step; this rank has nothing to add.
        time.sleep(_PEER_INFO_TIMEOUT_S)
    return []


def _all_cards(client: Any, processes: int) -> dict[int, PeerInfo]:
    deadline_s, pause_s = time.monotonic() + _PEER_INFO_TIMEOUT_S, 0.005
    while True:
        pairs = client.key_value_dir_get(_INFO_PREFIX)
        if len(pairs) >= processes or time.monotonic() > deadline_s:
            return {
                int(key.rpartition("/")[2]): json.loads(text) for key, text in pairs
            }
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, 0.5)


def compare_peer_info(
    cards: Mapping[int, PeerInfo], mine: PeerInfo, processes: int
) -> Iterator[Problem]:
    """What is wrong with a group, seen by rank 0. Pure."""
    foreign = [c for c in cards.values() if c["step"] != mine["step"]]
    if foreign:
        steps = ", ".join(sorted({str(c["step"]) for c in foreign}))
        yield Problem(
            "foreign-peer",
            f"{_named(foreign)} of the group belong to step {steps}, not to this step"
            f" {mine['step']}",
            "two steps share a coordinator's address: let the image set"
            " JAX_COORDINATOR_PORT, and leave JAX_SIF_TLS on",
            ranks=tuple(c["rank"] for c in foreign),
        )
        return
    silent = [rank for rank in range(processes) if rank not in cards]
    if silent:
        yield Problem(
            "foreign-peer",
            f"{_some(silent)} of the group did not say who they are",
            "start every rank of the step with the same program and image",
            ranks=tuple(silent),
        )
        return
    for name, noun, remedy in (
        ("program", "program", "start one program in all ranks of a step"),
        ("image", "image", "give every node the same image file"),
        ("packages", "file of packages", "give every rank the same JAX_SIF_ENV"),
        ("jax", "JAX", "give every node the same image; unset PYTHONPATH"),
        ("jaxlib", "jaxlib", "give every node the same image; unset PYTHONPATH"),
    ):
        yield from _minority(cards, name, noun, remedy)


def _minority(
    cards: Mapping[int, PeerInfo], name: str, noun: str, remedy: str
) -> Iterator[Problem]:
    # A rank of an older image does not say everything.
    counts = Counter(c.get(name) for c in cards.values())
    usual, _ = counts.most_common(1)[0]
    by_value: dict[Any, list[PeerInfo]] = defaultdict(list)
    for c in cards.values():
        if c.get(name) != usual:
            by_value[c.get(name)].append(c)
    for value, odd in by_value.items():
        yield Problem(
            f"{name}-differs",
            f"another {noun} on {_named(odd)}: {value}; the others have {usual}",
            remedy,
            # A user's program may well have a part of its own for one rank.
            is_fatal=name != "program",
            ranks=tuple(c["rank"] for c in odd),
        )


def _named(cards: list[PeerInfo]) -> str:
    names = [f"rank {c['rank']} on {c['node']}" for c in cards[:_MAX_NAMED]]
    more = len(cards) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")


def _some(ranks: list[int]) -> str:
    more = len(ranks) - _MAX_NAMED
    named = ", ".join(f"rank {rank}" for rank in ranks[:_MAX_NAMED])
    return named + (f" and {more} more" if more > 0 else "")


def publish_position(client: Any, rank: int, place: str) -> None:
    """Says to the others where this rank waits."""
    client.key_value_set(f"{_POSITION_PREFIX}{rank}", place, True)


def compare_positions(client: Any, own: str) -> list[dict[str, Any]] | None:
    """The places where ranks wait, each with some of them, when there are several."""
    ranks_by_place: dict[str, list[int]] = defaultdict(list)
    for key, place in client.key_value_dir_get(_POSITION_PREFIX):
        ranks_by_place[place].append(int(key.rpartition("/")[2]))
    if len({own, *ranks_by_place}) < 2:
        return None
    return [
        {"place": place, "count": len(ranks), "ranks": sorted(ranks)[:_MAX_NAMED]}
        for place, ranks in ranks_by_place.items()
    ]
