"""Everything that jaxsif.arrays promises, tried by all ranks, with orbax on top of the image: arrays.py FOLDER; a second run, of any topology, reads what the first has left; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from jaxsif import initialize_distributed

initialize_distributed()

import jax  # noqa: E402  (after initialize_distributed, as docs/start.md says)
import jax.numpy as jnp  # noqa: E402  (as above)
import numpy as np  # noqa: E402  (as above)
from jax.experimental import multihost_utils  # noqa: E402  (as above)
from jax.sharding import NamedSharding  # noqa: E402  (as above)
from jax.sharding import PartitionSpec as P  # noqa: E402  (as above)

from jaxsif import arrays  # noqa: E402  (as above)
from jaxsif.core.errors import KitError  # noqa: E402  (as above)

RANK, RANKS = jax.process_index(), jax.process_count()
LAST = RANKS - 1
LOCAL, DEVICES = jax.local_device_count(), jax.device_count()
# What the array below is, on every topology of up to 8 devices.
WHOLE = np.arange(64, dtype=np.float32).reshape(16, 4)
# The same in two bytes a number, and a few whose bits survive no arithmetic.
BRIEF = WHOLE.astype(jnp.bfloat16)
BRIEF.flat[:3] = np.nan, -0.0, np.inf


def refused(call: Callable[[], object], *words: str) -> None:
    """All ranks get the same error, with these words in it."""
    try:
        call()
    except KitError as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, (missing, str(error))
        return
    raise AssertionError(f"no error names {words}")


def own_rows() -> np.ndarray:
    return np.split(WHOLE, RANKS)[RANK]


def by_two_axes() -> NamedSharding:
    return NamedSharding(arrays.device_mesh(a=2, b=-1), P("b", "a"))


def parts_make_an_array() -> None:
    array = arrays.global_array(own_rows())

    assert array.shape == WHOLE.shape
    assert np.array_equal(own_rows(), arrays.local_part(array))
    assert np.array_equal(own_rows(), WHOLE[arrays.local_index(array)])
    assert np.array_equal(WHOLE, arrays.all_gather(array))
    gathered = arrays.gather(array, to=LAST)
    assert (gathered is None) == (RANK != LAST)
    assert gathered is None or np.array_equal(WHOLE, gathered)


def any_sharding_and_type_is_gathered_bit_for_bit() -> None:
    mesh = by_two_axes().mesh
    for spec in (P("b", "a"), P("a"), P(None, "a"), P(("b", "a")), P()):
        for kind in (jnp.float32, jnp.bfloat16, jnp.int8, jnp.complex64, jnp.bool_):
            array = jax.device_put(WHOLE.astype(kind), NamedSharding(mesh, spec))

            gathered = arrays.all_gather(array)

            assert gathered.dtype == kind and gathered.shape == WHOLE.shape
            assert gathered.tobytes() == WHOLE.astype(kind).tobytes(), (spec, kind)
    assert 3 == arrays.all_gather(jax.device_put(3, NamedSharding(mesh, P())))
    empty = jax.device_put(np.zeros((0, 4)), NamedSharding(mesh, P("a")))
    assert arrays.all_gather(empty).shape == (0, 4)


def parts_that_make_no_array_are_refused_in_all_ranks() -> None:
    is_last = RANK == LAST
    here = f"rank {LAST} on node"
    refused(
        lambda: arrays.global_array(np.zeros((2 * LOCAL * (1 + is_last), 4))),
        "shape differs",
        here,
    )
    refused(
        lambda: arrays.global_array(np.zeros(LOCAL, np.int32 if is_last else float)),
        "type differs: int32 on",
        here,
    )
    refused(
        lambda: arrays.global_array(np.full(LOCAL, 2**40 * is_last)),
        "do not fit 32 bits",
        "JAX_ENABLE_X64",
        here,
    )
    everywhere = NamedSharding(arrays.device_mesh(), P())
    mine = everywhere if is_last else None
    refused(
        lambda: arrays.global_array(np.zeros(LOCAL), mine),
        "sharding differs: P() on",
        "P('device') on",
        here,
    )
    refused(
        lambda: arrays.global_array(np.full(2, RANK), everywhere),
        "the copy of [0:2] differs",
        here,
    )
    assert arrays.global_array(np.full(2, 7), everywhere).shape == (2,)
    if LOCAL > 1:
        refused(
            lambda: arrays.global_array(np.zeros(LOCAL + is_last)),
            "is not divisible by",
            here,
        )


def what_each_rank_has_is_gathered_with_its_64_bits() -> None:
    large = np.array([2**40 + RANK])
    expected = [[2**40 + rank] for rank in range(RANKS)]

    assert expected == arrays.all_gather_local(large).tolist()
    # Why there is all_gather_local: the day this is mended it may go.
    assert expected != multihost_utils.process_allgather(large).tolist()
    assert (RANKS,) == arrays.all_gather_local(1.5).shape
    refused(lambda: arrays.all_gather_local(np.zeros(1 + (RANK == LAST))), "shape")
    refused(lambda: arrays.all_gather_local(object()), "numpy cannot convert")
    refused(lambda: arrays.all_gather_local(arrays.global_array(own_rows())), "all_ga")
    refused(lambda: arrays.all_gather(jnp.ones(3)), "belongs to this process only")
    refused(lambda: arrays.gather(arrays.global_array(own_rows()), to=99), "to=99")


def one_rank_alone_describes_an_array() -> None:
    array = arrays.global_array(own_rows())
    if RANK == LAST:
        text = arrays.describe(array, "x")
        assert f"x: float32[16, 4], P('device') on {DEVICES} devices" in text
        assert "rank 0 holds [0:" in text and f"rank {LAST} has in [" in text
        assert "60. 61. 62. 63." in text
    jax.jit(lambda x: x + 1, donate_argnums=0)(array)
    assert "donated" in arrays.describe(array)


def what_is_not_computed_yet_is_not_waited_for() -> None:
    if LOCAL == 1:
        # JAX computes on a single CPU device in the call itself.
        return
    array = arrays.global_array(own_rows())
    total = jax.jit(jnp.sum, out_shardings=NamedSharding(arrays.device_mesh(), P()))
    total(array).block_until_ready()
    if RANK == LAST:
        # The others start it later, and this does not wait for them.
        unfinished = total(array)
        assert "still being computed after 1 s" in arrays.describe(unfinished, wait_s=1)
    else:
        time.sleep(5)
        unfinished = total(array)
    assert WHOLE.sum() == arrays.all_gather(unfinished)


def keys_are_shown_and_not_gathered() -> None:
    rows = arrays.global_array(own_rows()).sharding
    split = jax.jit(lambda: jax.random.split(jax.random.key(0), 16), out_shardings=rows)
    keys = split()

    assert f"key<fry>[16], P('device') on {DEVICES} devices" in arrays.describe(keys)
    refused(lambda: arrays.all_gather(keys), "jax.random.key_data")


def another_program_in_one_rank_is_named() -> None:
    array = arrays.global_array(own_rows())
    double = jax.jit(lambda x: 2 * x)
    arrays.check_same_program(
        rate=0.1,
        sizes=(1, [2, "three"], {"four": None}),
        data=np.arange(3),
        array=array,
        function=own_rows,
        trace=double.trace(array),
        lowered=double.lower(array),
    )
    rate = 0.1 + (RANK == LAST)
    refused(
        lambda: arrays.check_same_program(rate=rate),
        f"rate differs: 1.1 on rank {LAST} on node",
        "; 0.1 on rank",
    )
    other = double if RANK == LAST else jax.jit(lambda x: 3 * x)
    refused(lambda: arrays.check_same_program(f=other.lower(array)), "f differs")
    refused(lambda: arrays.check_same_program(f=object()), "cannot compare f")


def a_mesh_that_does_not_divide_is_refused() -> None:
    refused(lambda: arrays.device_mesh(a=3), f"there are {DEVICES} devices")
    refused(lambda: arrays.device_mesh(a=-1, b=-1), "at most one -1")


def a_plain_file_goes_out_and_comes_back(folder: Path) -> None:
    file = folder / "whole.npy"
    has_been_here = file.exists()
    arrays.all_gather_local(0)  # No rank writes before all have looked.
    if not has_been_here:
        arrays.save_npy(file, arrays.global_array(own_rows()))
    assert np.array_equal(WHOLE, np.load(file))
    for sharding in (None, by_two_axes()):
        loaded = arrays.load_npy(file, sharding)
        assert np.array_equal(WHOLE, arrays.all_gather(loaded))
    assert [] == [path.name for path in folder.glob(".whole*")]
    refused(lambda: arrays.save_npy(folder / "no/x.npy", loaded), "rank 0 on node1: ca")
    refused(lambda: arrays.load_npy(folder / "no.npy"), "cannot read", "No such file")
    refused(lambda: arrays.save_npy(folder / "x.npz", loaded), "ends in .npy")
    brief = loaded.astype(jnp.bfloat16)
    refused(lambda: arrays.save_npy(folder / "x.npy", brief), "bfloat16", "float32")


def a_checkpoint_goes_out_and_comes_back(folder: Path) -> None:
    rows = arrays.global_array(own_rows())
    # Not device_put, which takes a NaN of another process for another value.
    brief = jax.make_array_from_callback(BRIEF.shape, by_two_axes(), BRIEF.__getitem__)
    simple, nested = {"x": rows, "step": 7}, {"pair": (brief, np.arange(3)), "step": 7}
    has_been_here = (folder / "simple").exists()
    arrays.all_gather_local(0)
    if not has_been_here:
        arrays.save(folder / "simple", simple)
        arrays.save(folder / "nested", nested)
    again = arrays.load(folder / "simple")
    assert again["step"] == 7 and again["x"].sharding == rows.sharding
    assert WHOLE.tobytes() == arrays.all_gather(again["x"]).tobytes()
    for like in ({"like": nested}, {"mesh": by_two_axes().mesh}):
        first, second = arrays.load(folder / "nested", **like)["pair"]
        assert first.dtype == BRIEF.dtype and first.sharding == brief.sharding
        assert BRIEF.tobytes() == arrays.all_gather(first).tobytes()
        assert [0, 1, 2] == second.tolist()
    assert isinstance(arrays.load(folder / "nested", like=nested)["pair"], tuple)


def checkpoints_that_cannot_be_are_refused(folder: Path) -> None:
    simple, nested = folder / "simple", folder / "nested"
    refused(lambda: arrays.load(nested), "give the mesh to")
    refused(
        lambda: arrays.load(simple, mesh=by_two_axes().mesh), "does not fit the mesh"
    )
    refused(lambda: arrays.save(simple, {"step": 7}), "exists already")
    refused(lambda: arrays.load(folder / "no"), "there is no directory")
    alone = {"x": [jnp.ones(2)]}
    refused(
        lambda: arrays.save(folder / "alone", alone), "['x'][0]", "this process only"
    )


def main(folder: Path) -> None:
    parts_make_an_array()
    any_sharding_and_type_is_gathered_bit_for_bit()
    parts_that_make_no_array_are_refused_in_all_ranks()
    what_each_rank_has_is_gathered_with_its_64_bits()
    one_rank_alone_describes_an_array()
    what_is_not_computed_yet_is_not_waited_for()
    keys_are_shown_and_not_gathered()
    another_program_in_one_rank_is_named()
    a_mesh_that_does_not_divide_is_refused()
    a_plain_file_goes_out_and_comes_back(folder)
    a_checkpoint_goes_out_and_comes_back(folder)
    checkpoints_that_cannot_be_are_refused(folder)
    print(f"rank {RANK} of {RANKS}: arrays are as they should be")


main(Path(sys.argv[1]))
