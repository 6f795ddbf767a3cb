"""The ranks that met: foreign, silent and different ones are named; the traffic grows with the ranks and no faster."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from jaxsif.core.records import RanksAtPosition
from jaxsif.core.slurm_env import Identity
from jaxsif.rank import peers

STEP = "box.7.0.0"


class Store:
    """Stands in for JAX's client of the key-value store, and counts what is asked."""

    def __init__(self) -> None:
        self.content: dict[str, str] = {}
        self.calls: Counter[str] = Counter()

    def key_value_set(self, key: str, value: str, allow_overwrite: bool) -> None:
        self.calls["set"] += 1
        self.content[key] = value

    def key_value_dir_get(self, folder: str) -> list[tuple[str, str]]:
        self.calls["dir"] += 1
        return [(k, v) for k, v in self.content.items() if k.startswith(folder)]

    def blocking_key_value_get(self, key: str, limit_ms: int) -> str:
        self.calls["get"] += 1
        return self.content[key]


def identity(rank: int, step: str = STEP, processes: int = 4) -> Identity:
    return Identity(
        step, rank, processes, rank % 2, f"node{rank // 2 + 1}", "node[1-2]"
    )


@pytest.fixture(autouse=True)
def cards_without_jax(monkeypatch):
    """JAX is in the image, not where the unit tests run."""

    def card(who: Identity) -> dict[str, Any]:
        return {
            "step": who.step,
            "rank": who.rank,
            "node": who.node,
            "program": "train.py 01",
            "image": "abc",
            "packages": None,
            "jax": "1.0",
            "jaxlib": "1.0",
        }

    monkeypatch.setattr(peers, "peer_info", card)
    monkeypatch.setattr(peers, "_PEER_INFO_TIMEOUT_S", 0.0)


def cards(**changes: dict[int, Any]) -> dict[int, dict[str, Any]]:
    """Four ranks that are alike, but for `name={rank: value}`."""
    made = {rank: peers.peer_info(identity(rank)) for rank in range(4)}
    for name, by_rank in changes.items():
        for rank, value in by_rank.items():
            made[rank][name] = value
    return made


def complaints(made: dict[int, dict[str, Any]]) -> list[tuple[str, str]]:
    mine = peers.peer_info(identity(0))
    return [(t.kind, t.text) for t in peers.compare_peer_info(made, mine, 4)]


def test_ranks_that_are_alike_have_no_trouble():
    assert [] == complaints(cards())


@pytest.mark.parametrize(
    ("changes", "kind", "text"),
    [
        ({"step": {3: "box.7.1.0"}}, "foreign-peer", "rank 3 on node2 of the group belong"),
        ({"program": {2: "x.py 02"}}, "program-differs", "different program on rank 2 on node2: x.py 02; the others have train.py 01"),
        ({"image": {1: None}}, "image-differs", "different image on rank 1 on node1: None"),
        ({"packages": {1: "ab"}}, "packages-differs", "different file of packages on rank 1 on node1: ab; the others have None"),
        ({"jax": {2: "0.9", 3: "0.9"}}, "jax-differs", "different JAX on ranks 2-3 on node2: 0.9"),
        ({"jaxlib": {0: "0.9"}}, "jaxlib-differs", "different jaxlib on rank 0 on node1: 0.9"),
    ],
)  # fmt: skip
def test_each_difference_is_named_with_rank_and_node(changes, kind, text):
    ((got_kind, got_text),) = complaints(cards(**changes))

    assert kind == got_kind
    assert text in got_text


def test_a_rank_without_a_card_is_a_foreign_one():
    made = cards()
    del made[2]

    assert [("foreign-peer", "rank 2 of the group did not identify themselves")] == (
        complaints(made)
    )


def test_a_rank_in_a_foreign_group_names_the_groups_step():
    store = Store()
    store.content["jaxsif/word"] = json.dumps(
        {"step": "box.7.1.0", "node": "node9", "is_well": True}
    )

    (problem,) = peers.exchange_peer_info(store, identity(3))

    assert "foreign-group" == problem.kind
    assert "that of step box.7.1.0 on node9, this is step box.7.0.0" in problem.text


@pytest.mark.parametrize("processes", [10, 1000])
def test_each_rank_writes_one_card_and_reads_one_word(processes):
    store = Store()
    for rank in range(1, processes):
        store.content[f"jaxsif/card/{rank}"] = json.dumps(
            peers.peer_info(identity(rank, processes=processes))
        )

    assert [] == peers.exchange_peer_info(store, identity(0, processes=processes))
    by_rank_0 = sum(store.calls.values())
    store.calls.clear()
    assert [] == peers.exchange_peer_info(store, identity(1, processes=processes))

    assert 3 == by_rank_0
    assert {"set": 1, "get": 1} == store.calls


def test_ranks_at_one_place_are_in_step_and_others_are_listed():
    store = Store()
    for rank in range(3):
        peers.publish_position(store, rank, "in allreduce")
    assert peers.compare_positions(store, "in allreduce") is None

    peers.publish_position(store, 3, "after devices")

    assert [
        RanksAtPosition(3, "in allreduce", [0, 1, 2]),
        RanksAtPosition(1, "after devices", [3]),
    ] == peers.compare_positions(store, "in allreduce")
