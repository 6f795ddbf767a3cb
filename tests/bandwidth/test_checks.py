"""Speeds in the verdict: expected, too low and why, wrong elements, stragglers."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from msgspec.structs import replace
from sample_measurements import GIB, by_rank, card, fabrics, measured, verdict_on
from sample_records import G8N2P8, healthy, make_record, records

from jaxsif.bandwidth import results
from jaxsif.bandwidth.baseline import Baseline, Key
from jaxsif.core.history import JobState
from jaxsif.core.topology import parse_topology
from jaxsif.verdict import render
from jaxsif.verdict.verdict import judge

# The rule for four H100 a node with four NDR cards: 0.9 x 200 GB/s.
DUE = 180.0
CPU = fabrics(gpu=None, gpus=0, nvlink=None, cards=[])


def kinds(verdict) -> list[str]:
    return [finding.kind for finding in verdict.findings]


@pytest.mark.parametrize(
    ("part", "is_strict", "status", "found"),
    [
        (1.10, False, 0, []),
        (0.86, True, 0, []),
        (0.84, False, 0, ["bandwidth-low"]),
        (0.84, True, 1, ["bandwidth-low"]),
        (0.71, False, 0, ["bandwidth-low"]),
        (0.69, False, 1, ["bandwidth-low"]),
    ],
)
def test_a_speed_passes_warns_or_fails_by_its_part_of_the_expected(
    part, is_strict, status, found
):
    verdict = verdict_on(fabrics(), measured(part * DUE), is_strict=is_strict)

    assert (status, found) == (verdict.status, kinds(verdict))


def test_the_line_of_a_pass_has_the_speed_and_the_expected():
    verdict = verdict_on(fabrics(), measured(167.4))

    assert (
        "every rank verified its peers, all-reduce 167 GB/s busbw at 1 GiB, 0.93 of the"
        " expected 180," in render.summary(verdict)
    )


def test_without_an_expected_value_the_line_names_the_command_for_one():
    verdict = verdict_on(CPU, measured(0.41, size_bytes=2**26))

    assert (
        "all-reduce 0.41 GB/s busbw at 64 MiB (no expected value for cpu; learn one:"
        " jax-sif baseline add)," in render.summary(verdict)
    )
    assert (0, []) == (verdict.status, kinds(verdict))


def test_a_job_that_measured_nothing_reports_no_speed():
    assert "busbw" not in render.summary(verdict_on())


def test_one_device_has_no_speed():
    one = parse_topology("G1N1p1")

    verdict = verdict_on(measured(1.0, "broadcast", topology=one), topology=one)

    assert "busbw" not in render.summary(verdict)


def test_the_largest_size_decides_and_all_reduce_is_named():
    verdict = verdict_on(
        fabrics(),
        measured(9.0, size_bytes=2**20),
        measured(175.0),
        measured(176.0, "all-gather"),
    )

    assert (0, []) == (verdict.status, kinds(verdict))
    assert "all-reduce 175 GB/s busbw at 1 GiB" in render.summary(verdict)


def test_small_sizes_are_not_expected_to_be_fast():
    verdict = verdict_on(fabrics(), measured(9.0, size_bytes=2**20))

    assert (0, []) == (verdict.status, kinds(verdict))
    assert "no expected value" in render.summary(verdict)


def test_the_time_is_the_median_of_the_trials_of_the_mean_of_the_ranks():
    (point,) = results.points(by_rank(measured(100.0)))

    assert 100.0 == pytest.approx(point.bus_gb_per_s)
    assert 0.01 == pytest.approx(point.spread)


@pytest.mark.parametrize(
    "broken",
    [
        {"times_us": []},
        {"times_us": [0.0]},
        {"collective": "gossip"},
        {"dtype": "f8"},
        {"size_bytes": 0},
        {"devices": 0},
    ],
)
def test_records_of_other_programs_are_no_measurements(broken):
    odd = [replace(record, **broken) for record in measured(100.0)]

    assert [] == results.points(by_rank(odd))


def text_of(*measurements, topology=None) -> tuple[str, str]:
    chosen = {"topology": topology} if topology else {}
    (finding,) = verdict_on(*measurements, **chosen).findings
    return finding.text, finding.remedy


def test_a_low_speed_names_measured_expected_and_the_source():
    text, _ = text_of(fabrics(), measured(0.8 * DUE))

    assert text.startswith(
        "all-reduce 144 GB/s busbw at 1 GiB, 0.80 of the expected 180 (no published"
        " value, computed: 0.9 x network 200 GB/s)"
    )


@pytest.mark.parametrize(
    ("busbw", "words"),
    [
        (4.8, "it looks like TCP instead of InfiniBand"),
        (0.65 * DUE, "it looks like no GPUDirect RDMA"),
        (0.50 * DUE, "it looks like half of the network cards"),
        (0.25 * DUE, "it looks like one network card of 4"),
    ],
)
def test_the_cause_of_a_low_speed_is_derived_from_its_ratio(busbw, words):
    text, remedy = text_of(fabrics(), measured(busbw))

    assert text.endswith(f"; {words}")
    assert remedy


def test_trials_that_were_disturbed_are_called_so():
    text, _ = text_of(fabrics(), measured(0.8 * DUE, trials=(0.7, 0.8, 1.0, 1.2, 1.3)))

    assert text.endswith("network 200 GB/s), trials spread by 40 %")


def test_speeds_that_look_alike_are_one_finding():
    verdict = verdict_on(
        fabrics(),
        measured(0.5 * DUE),
        measured(0.51 * DUE, "all-gather"),
        measured(0.8 * DUE, "reduce-scatter"),
    )

    failure, warning = verdict.findings
    assert (False, True) == (failure.is_warning, warning.is_warning)
    assert "; also 0.51 of all-gather at 1 GiB; it looks like half" in failure.text
    assert warning.text.startswith("reduce-scatter 144 GB/s")


def test_a_card_that_is_down_is_named_with_its_node():
    down = [card(0), card(1), card(2), card(3, 1.25, is_active=False)]

    text, remedy = text_of(fabrics(node2=down), measured(0.74 * DUE))

    assert text.endswith("; not active: mlx5_3:1 on node2")
    assert "cable" in remedy


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (
            {"reported_by": "nccl", "kind": "sockets"},
            "NCCL uses TCP instead of InfiniBand",
        ),
        (
            {"reported_by": "nccl", "kind": "infiniband", "gpudirect": False},
            "NCCL works without GPUDirect RDMA",
        ),
    ],
)
def test_the_transport_record_comes_before_the_ratio(facts, words):
    transport = [make_record(0, "transport", "node1", **facts)]

    findings = verdict_on(fabrics(), transport, measured(0.5 * DUE)).findings
    (text,) = [f.text for f in findings if f.kind == "bandwidth-low"]

    assert text.endswith(f"; {words}")


def test_on_one_node_the_network_is_no_cause():
    node = parse_topology("G4N1p4")

    text, _ = text_of(fabrics(node), measured(180.0, topology=node), topology=node)

    assert text.endswith("0.8 x NVLink 450 GB/s)")


def test_wrong_elements_fail_and_name_the_ranks_before_any_speed():
    verdict = verdict_on(
        fabrics(), measured(0.5 * DUE, wrong={5: 12, 6: 1}), measured(9.0, size_bytes=8)
    )

    first = verdict.findings[0]
    assert (1, "data-corrupt-collective", (5, 6)) == (
        verdict.status,
        first.kind,
        first.ranks,
    )
    assert "ranks 5-6 on node2: 13 elements of all-reduce at 1 GiB" in first.text
    assert not first.is_warning


def test_the_result_nearest_to_the_fault_names_the_sender():
    everywhere = dict.fromkeys(range(8), 2)

    verdict = verdict_on(
        CPU,
        measured(1.0, wrong=everywhere),
        measured(1.0, "send-recv", size_bytes=2**20, wrong={0: 1}),
    )

    assert (
        "ranks 0-3 on node1, 4-7 on node2: 17 elements of all-reduce at 1 GiB and 1"
        " more result are not what was sent; of send-recv at 1 MiB only what rank 0 on"
        " node1"
        " received from rank 7 on node2" == verdict.findings[0].text
    )


def test_a_rank_that_ends_for_its_wrong_elements_needs_no_other_cause():
    job_state = JobState()
    job_records = [*records(healthy()), *measured(1.0, wrong={5: 1})]
    for record in job_records:
        job_state.add(record)
    job_state.add_line("srun: error: node2: task 5: Exited with exit code 1")

    (verdict,) = judge(job_state, G8N2P8)

    assert ["data-corrupt-collective"] == kinds(verdict)


def sizes(**changes) -> list:
    return [measured(1.0, size_bytes=2**n, **changes) for n in (16, 20, 24, 26)]


def test_a_rank_that_lags_at_every_size_is_named():
    verdict = verdict_on(CPU, *sizes(slow={5: 4.0}))

    (finding,) = verdict.findings
    assert (0, "straggler", (5,)) == (verdict.status, finding.kind, finding.ranks)
    assert "rank 5 on node2 takes 4.0 times as long as the other ranks" in finding.text


def test_a_rank_that_was_slow_once_is_no_straggler():
    verdict = verdict_on(
        CPU, *sizes()[:3], measured(1.0, size_bytes=GIB, slow={5: 9.0})
    )

    assert [] == kinds(verdict)


def test_the_speed_of_a_failed_job_is_not_rated():
    verdict = verdict_on(
        fabrics(), measured(0.1 * DUE), *sizes(slow={5: 4.0}), without=(5, "done")
    )

    assert {"bandwidth-low", "straggler"}.isdisjoint(kinds(verdict))
    assert 1 == verdict.status


def learned(busbw: float, size_bytes: int = 2**26, hardware: str = "cpu") -> Baseline:
    key = Key(hardware, "G8N2p8", "all-reduce", "f32", size_bytes)
    return Baseline("baseline.toml", {key: (busbw,)})


def test_a_baseline_comes_before_what_the_hardware_should_reach():
    baseline = learned(150.0, GIB, "NVIDIA H100 80GB HBM3, infiniband")

    verdict = verdict_on(fabrics(), measured(140.0), baseline=baseline)

    assert (0, []) == (verdict.status, kinds(verdict))
    assert "0.93 of the expected 150" in render.summary(verdict)


def test_a_speed_below_the_baseline_fails_and_names_the_file():
    verdict = verdict_on(CPU, measured(0.4, size_bytes=2**26), baseline=learned(1.0))

    (finding,) = verdict.findings
    assert (1, "bandwidth-low") == (verdict.status, finding.kind)
    assert "0.40 of the expected 1 (baseline.toml, 1 run)" in finding.text


def test_a_speed_that_a_good_run_had_too_is_good():
    key = Key("cpu", "G8N2p8", "all-reduce", "f32", 2**26)
    known = Baseline("b", {key: (0.4, 1.0, 1.1)})

    for speed, found in ((0.41, []), (0.39, ["bandwidth-low"])):
        verdict = verdict_on(CPU, measured(speed, size_bytes=2**26), baseline=known)

        assert found == kinds(verdict)


def test_the_largest_size_that_both_know_is_compared():
    verdict = verdict_on(
        CPU,
        measured(0.9, size_bytes=2**26),
        measured(0.1, size_bytes=2**28),
        baseline=learned(1.0),
    )

    assert (0, []) == (verdict.status, kinds(verdict))
    assert "all-reduce 0.9 GB/s busbw at 64 MiB, 0.90 of" in render.summary(verdict)


def test_a_baseline_without_an_entry_is_a_warning():
    verdict = verdict_on(
        CPU, measured(0.4, size_bytes=2**26), baseline=learned(1.0, hardware="A100")
    )

    (finding,) = verdict.findings
    assert (0, True) == (verdict.status, finding.is_warning)
    assert (
        "baseline.toml has no entry for G8N2p8 on cpu; it has G8N2p8 on A100"
        == finding.text
    )
