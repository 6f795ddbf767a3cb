"""The checks of the network used: declared and not used, different between nodes, without NVLink or GPUDirect."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace
from reported import as_json
from sample_records import healthy, make_record, records

from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.transport import checks as transport
from jaxsif.verdict import render
from jaxsif.verdict.checks import CHECKS
from jaxsif.verdict.verdict import Verdict, judge

G16N4P16 = parse_topology("G16N4p16")

FAST = {
    "reported_by": "nccl",
    "kind": "infiniband",
    "interfaces": ["mlx5_0:1", "mlx5_1:1"],
    "count": 2,
    "gpudirect": True,
    "intra_node": "nvlink",
    "summary": "NVLink, InfiniBand x2, GPUDirect",
    "reasons": ["no network plugin was found"],
}
SOCKETS = {
    **FAST,
    "kind": "sockets",
    "interfaces": ["eth0"],
    "count": 1,
    "gpudirect": None,
    "summary": "NVLink, sockets on eth0",
    "reasons": ["libibverbs could not be loaded", "no network plugin was found"],
}
SLINGSHOT = {**FAST, "kind": "slingshot", "summary": "NVLink, Slingshot x4, GPUDirect"}
OFI_TCP = {**SOCKETS, "kind": "libfabric", "summary": "libfabric's tcp x1"}
SLOW_IB = {**FAST, "gpudirect": False, "summary": "NVLink, InfiniBand x2"}
ONE_CARD = {**FAST, "count": 1, "summary": "NVLink, InfiniBand x1, GPUDirect"}
NO_NVLINK = {
    **FAST,
    "intra_node": "shared-memory",
    "summary": "shared memory, InfiniBand x2",
}
RACK = {**FAST, "kind": "nvlink", "summary": "NVLink, NVLink between nodes"}
UNKNOWN = {
    "gpudirect": None,
    "intra_node": None,
    "reported_by": "nccl",
    "kind": "unknown",
    "summary": "not known: NCCL_DEBUG=WARN is set, so there is no report",
    "reasons": [],
}
GLOO = {
    "gpudirect": None,
    "intra_node": None,
    "reported_by": "gloo",
    "kind": "sockets",
    "interfaces": ["eth0"],
    "count": 1,
    "summary": "sockets on eth0",
    "reasons": [],
}
GLOO_ELSEWHERE = {**GLOO, "interfaces": ["eth1"], "summary": "sockets on eth1"}


def verdict_on(reported: list[dict[str, Any]], network: str | None = None) -> Verdict:
    """A healthy job of four nodes whose first ranks report these transports."""
    job = healthy(G16N4P16)
    for rank in job:
        job[rank]["started"]["network"] = network
    job_state = JobState()
    for record in records(job):
        job_state.add(record)
    for number, facts in enumerate(reported):
        job_state.add(
            make_record(4 * number, "transport", f"node{number + 1}", **facts)
        )
    (verdict,) = judge(job_state, G16N4P16)
    return verdict


def found(reported: list[dict[str, Any]], network: str | None = None):
    return [(f.kind, f.text) for f in verdict_on(reported, network).findings]


@pytest.mark.parametrize("network", [None, "unknown", "ethernet", "infiniband", "mars"])
@pytest.mark.parametrize("way", [FAST, RACK, {**FAST, "kind": "roce"}])
def test_a_fast_network_on_all_nodes_passes(network, way):
    verdict = verdict_on([way] * 4, network)

    assert (0, ()) == (verdict.status, verdict.findings)


def test_sockets_pass_if_no_network_is_declared():
    assert [] == found([SOCKETS] * 4)
    assert [] == found([SOCKETS] * 4, "ethernet")


def test_sockets_on_all_nodes_fail_where_the_cluster_has_infiniband():
    verdict = verdict_on([SOCKETS] * 4, "infiniband")

    assert 1 == verdict.status
    assert [
        "node1, node2, node3, node4 use NVLink, sockets on eth0 (libibverbs could not be"
        " loaded) though the cluster has InfiniBand or RoCE"
    ] == [f.text for f in verdict.findings]
    assert tuple(range(16)) == verdict.findings[0].ranks


def test_one_node_on_sockets_is_named_beside_what_the_others_use():
    text = (
        "node3 uses NVLink, sockets on eth0 (libibverbs could not be loaded) though the"
        " cluster has InfiniBand or RoCE, the 3 others NVLink, InfiniBand x2, GPUDirect"
    )

    verdict = verdict_on([FAST, FAST, SOCKETS, FAST], "infiniband")

    assert ["network-not-used"] == [f.kind for f in verdict.findings]
    assert text == verdict.findings[0].text
    assert (8, 9, 10, 11) == verdict.findings[0].ranks


def test_one_node_on_sockets_fails_even_if_no_network_is_declared():
    verdict = verdict_on([FAST, FAST, SOCKETS, FAST])

    assert 1 == verdict.status
    assert [
        (
            "network-differs",
            "node3 uses NVLink, sockets on eth0 (libibverbs could not be loaded),"
            " the 3 others NVLink, InfiniBand x2, GPUDirect",
        )
    ] == [(f.kind, f.text) for f in verdict.findings]


@pytest.mark.parametrize(
    ("way", "kinds"),
    [
        (SLINGSHOT, []),
        (SOCKETS, ["network-not-used"]),
        (OFI_TCP, ["network-not-used"]),
        # By a plugin of an unknown name.
        ({**FAST, "kind": "plugin", "summary": "Libfabric"}, []),
    ],
)
def test_slingshot_needs_its_plugin(way, kinds):
    assert kinds == [kind for kind, _ in found([way] * 4, "slingshot")]


def test_for_slingshot_the_missing_plugin_is_the_reason():
    ((_, text),) = found([SOCKETS] * 4, "slingshot")

    assert "(no network plugin was found) though the cluster has Slingshot" in text


@pytest.mark.parametrize(
    ("reported", "kind", "text"),
    [
        (
            [FAST, NO_NVLINK, FAST, FAST],
            "nvlink-missing",
            "node2 uses no NVLink between the GPUs (shared memory, InfiniBand x2), the 3"
            " others do",
        ),
        (
            [SLOW_IB] * 4,
            "gpudirect-missing",
            "node1, node2, node3, node4 use NVLink, InfiniBand x2 without GPUDirect RDMA",
        ),
        (
            [FAST, SLOW_IB, FAST, FAST],
            "gpudirect-missing",
            "node2 uses NVLink, InfiniBand x2 without GPUDirect RDMA",
        ),
        (
            [FAST, FAST, FAST, ONE_CARD],
            "transport-differs",
            "node4 uses NVLink, InfiniBand x1, GPUDirect, the 3 others NVLink,"
            " InfiniBand x2, GPUDirect",
        ),
        (
            [GLOO, GLOO_ELSEWHERE],
            "transport-differs",
            "node1 uses sockets on eth0, node2 sockets on eth1",
        ),
    ],
)
def test_what_is_slow_and_not_wrong_is_a_warning(reported, kind, text):
    verdict = verdict_on(reported)

    assert 0 == verdict.status
    assert [(kind, True)] == [(f.kind, f.is_warning) for f in verdict.findings]
    assert verdict.findings[0].text.startswith(text)


def test_cpu_devices_never_fail_for_their_sockets():
    verdict = verdict_on([GLOO] * 4, "infiniband")

    assert 0 == verdict.status
    assert [
        (
            "network-not-exercised",
            "node1, node2, node3, node4 use sockets on eth0, as CPU devices always do;"
            " the cluster's InfiniBand or RoCE was not tried",
        )
    ] == [(f.kind, f.text) for f in verdict.findings]


def test_an_unread_report_is_a_warning_if_a_network_is_declared():
    assert [] == found([UNKNOWN] * 4)
    assert ["transport-unknown"] == [k for k, _ in found([UNKNOWN] * 4, "infiniband")]
    assert [] == found([UNKNOWN, FAST, FAST, FAST])


def test_a_job_without_transport_records_is_rated_as_before():
    assert [] == found([], "infiniband")


def test_many_nodes_are_not_all_named():
    topology = parse_topology("G8N8p8")
    job_state = JobState()
    for record in records(healthy(topology)):
        has_network = record.phase == "started"
        changes = {"network": "infiniband"} if has_network else {}
        job_state.add(replace(record, **changes))
    for number in range(8):
        job_state.add(make_record(number, "transport", f"node{number + 1}", **SOCKETS))

    (verdict,) = judge(job_state, topology)

    text = verdict.findings[0].text
    assert text.startswith("node1, node2, node3, node4 and 4 more nodes use NVLink")


def test_every_transport_check_is_provoked_here():
    jobs = [
        verdict_on([SOCKETS] * 4, "infiniband"),
        verdict_on([FAST, SOCKETS]),
        verdict_on([FAST, NO_NVLINK]),
        verdict_on([SLOW_IB]),
        verdict_on([FAST, ONE_CARD]),
        verdict_on([GLOO], "infiniband"),
        verdict_on([UNKNOWN], "infiniband"),
    ]
    kinds = {f.kind for verdict in jobs for f in verdict.findings}

    checks = [check for check in CHECKS if check.__module__ == transport.__name__]
    assert len(checks) == len(kinds) == 7


def test_the_verdict_shows_the_transport_once_if_all_nodes_agree():
    *_, line, verdict = render.text(verdict_on([FAST] * 4, "infiniband")).splitlines()

    assert "transport: NVLink, InfiniBand x2, GPUDirect" == line
    assert verdict.startswith("PASS  G16N4p16: ")
    assert "transport: " not in render.text(verdict_on([FAST, ONE_CARD]))
    assert "transport: " not in render.text(verdict_on([]))


def test_the_json_has_the_transports():
    content = as_json(verdict_on([FAST] * 4))

    reported = [
        r["measurements"][0]["summary"] for r in content["ranks"] if r["measurements"]
    ]
    assert [FAST["summary"]] * 4 == reported
