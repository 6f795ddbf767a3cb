"""Says what XLA made of a chain of collectives: how many run, what is copied; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import re

from jaxsif import initialize_distributed
from jaxsif.rank import phase_reporter

SIZE = 2**20
OPERATIONS = {
    *("all_reduce", "all_gather", "reduce_scatter", "all_to_all"),
    *("collective_broadcast", "collective_permute", "scatter", "while"),
}

with phase_reporter() as reporter:
    initialize_distributed()
    import jax
    from jax import export

    from jaxsif.bandwidth.collectives import COLLECTIVES, buffers
    from jaxsif.bandwidth.programs import (
        Group,
        compile_repeated,
        programs,
        repeated_program,
    )
    from jaxsif.rank.identity_check import sum_of_ones

    reporter.devices()
    reporter.report_allreduce(sum_of_ones())
    reporter.prove_identity()
    group = Group()
    for collective in ("all-reduce", "all-gather", "reduce-scatter", "all-to-all"):
        shape = buffers(collective, "f32", SIZE, group.size)
        around = programs(group, collective, "f32", shape)

        def wrong(received: jax.Array, trial: int) -> int:
            counts = around.wrong(received, group.broadcast_int(trial))  # noqa: B023  (called within the same turn)
            return int(counts.addressable_shards[0].data[0])

        found = []
        for length in (1, 8):
            compiled, _ = compile_repeated(group, collective, "f32", shape, length)
            sent = around.fill(group.broadcast_int(length))
            _, received = compiled(sent, around.empty(group.broadcast_int(0)))
            found.append(wrong(received, length))
        is_stale = wrong(received, 99) == shape.received
        text = compiled.as_text()
        copied = [int(n) for n in re.findall(r"= f32\[(\d+)\]\S* copy\(", text)]
        trips = re.findall(r'known_trip_count":\{"n":"(\d+)"\}', text)
        if jax.process_index() == 0:
            print(
                f"{collective}: {found[0]} and {found[1]} wrong, {is_stale} stale,"
                f" {sum(n > 1 for n in copied)} copied, {','.join(trips)} times",
                flush=True,
            )
    # What a GPU would be given; there is none to run it.
    for collective in COLLECTIVES:
        shape = buffers(collective, "bf16", SIZE, group.size)
        program, given = repeated_program(group, collective, "bf16", shape, 8)
        module = export.export(program, platforms=["cuda"])(*given).mlir_module()
        operations = set(re.findall(r"stablehlo\.(\w+)", module))
        if jax.process_index() == 0:
            found = operations & OPERATIONS
            print(f"for GPUs, {collective}: {', '.join(sorted(found))}", flush=True)
