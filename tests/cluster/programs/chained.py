"""Says what XLA made of a chain of collectives: how many run, what is copied; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import re

from jaxsif import initialize_distributed
from jaxsif.rank import narrate

SIZE = 2**20

with narrate() as tell:
    initialize_distributed()
    import jax

    from jaxsif.contract.collectives import buffers
    from jaxsif.rank.collectives import Group, compiled_chain, programs
    from jaxsif.rank.proof import sum_of_ones

    tell.devices()
    tell.all_reduced(sum_of_ones())
    tell.prove_identity()
    group = Group()
    for collective in ("all-reduce", "all-gather", "reduce-scatter", "all-to-all"):
        shape = buffers(collective, "f32", SIZE, group.size)
        around = programs(group, collective, "f32", shape)
        wrong = {}
        for length in (1, 8):
            chain, _ = compiled_chain(group, collective, "f32", shape, length)
            number = group.number(length)
            received = around.empty(group.number(0))
            _, received = chain(around.fill(number), received)
            wrong[length] = int(
                around.wrong(received, number).addressable_shards[0].data[0]
            )
            stale = int(
                around.wrong(received, group.number(99)).addressable_shards[0].data[0]
            )
        text = chain.as_text()
        copied = [
            found
            for found in re.findall(r"= f32\[(\d+)\]\S* copy\(", text)
            if int(found) > 1
        ]
        trips = re.findall(r'known_trip_count":\{"n":"(\d+)"\}', text)
        if jax.process_index() == 0:
            print(
                f"{collective}: {wrong[1]} and {wrong[8]} wrong,"
                f" {stale == shape.received} stale, {len(copied)} copied,"
                f" {','.join(trips)} times",
                flush=True,
            )
