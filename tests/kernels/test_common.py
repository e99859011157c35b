"""The building blocks of the kernels, block choice and the table of workloads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pallas_kernels import blocks, common
from pallas_kernels.shapes import SHAPES

BLOCK = blocks.BlockConfig(channels=1, columns=1)
SMALL = [w for w in SHAPES["adacof"] if w.interpretable]


def scatter(index: jax.Array, programs: int) -> jax.Array:
    """Adds one at every index, from each of several programs, to four zeros."""

    def kernel(positions, total):
        common.scatter_add(total, (positions[...],), jnp.ones(index.shape, jnp.float32))

    (total,) = common.call(
        kernel,
        [index],
        [],
        accumulated=[jax.ShapeDtypeStruct((4,), jnp.float32)],
        grid=(programs,),
        block=BLOCK,
        name="scatter",
        interpret=True,
    )
    return total


def test_equal_indices_add_up_within_a_program_and_between_programs():
    index = jnp.array([0, 0, 0, 2], jnp.int32)
    np.testing.assert_array_equal(scatter(index, programs=1), [3, 0, 1, 0])
    np.testing.assert_array_equal(scatter(index, programs=5), [15, 0, 5, 0])


@pytest.mark.parametrize(
    ("count", "unroll"), [(0, 1), (1, 1), (5, 1), (5, 5), (5, 3), (6, 3), (7, 3), (8, 4)]
)
def test_an_unrolled_loop_visits_every_number_once_in_order(count, unroll):
    visited = common.loop(
        count,
        lambda i, carry: (carry[0].at[carry[1]].set(i), carry[1] + 1),
        (jnp.full(8, -1), 0),
        unroll=unroll,
    )
    np.testing.assert_array_equal(visited[0], [*range(count), *[-1] * (8 - count)])


def test_a_tile_knows_its_pixels_and_where_the_image_ends():
    tile = common.pixel_tile(1, 8, height=3, width=5)
    np.testing.assert_array_equal(tile.pixel, range(8, 16))
    np.testing.assert_array_equal(tile.row[:7], [1, 1, 2, 2, 2, 2, 2])
    np.testing.assert_array_equal(tile.column[:7], [3, 4, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(tile.inside, [True] * 7 + [False])


@pytest.mark.parametrize(
    ("rounding", "whole", "rest"),
    [
        ("floor", [-2, -1, -1, 0, 1], [0.75, 0, 0.5, 0.25, 0]),
        ("trunc", [-1, -1, 0, 0, 1], [-0.25, 0, -0.5, 0.25, 0]),
    ],
)
def test_an_offset_splits_into_a_whole_and_a_rest(rounding, whole, rest):
    parts = common.split_offset(jnp.array([-1.25, -1.0, -0.5, 0.25, 1.0]), rounding)
    np.testing.assert_array_equal(parts[0], whole)
    np.testing.assert_array_equal(parts[1], rest)


@pytest.mark.parametrize("side", [1, 3, 5, 11])
@pytest.mark.parametrize("channels", [1, 3, 4, 20, 61, 63, 128])
def test_blocks_fit_the_backend_and_the_work(channels, side):
    forward, backward = blocks.adacof_forward(channels, side), blocks.adacof_backward(channels, side)
    for block in (forward, backward):
        assert block.pixels & (block.pixels - 1) == 0, "arrays in a kernel must have power-of-two sizes"
        assert 1 <= block.channels <= min(channels, blocks.ACCUMULATORS)
        assert block.columns in (1, side)
        assert block.columns == 1 or block.columns * block.channels <= blocks.BODY


def test_workloads_have_names_of_their_own():
    names = [w.name for w in SHAPES["adacof"]]
    assert len(set(names)) == len(names)


def test_workloads_cover_the_kinds_of_input():
    assert {1, 3, 4, 5, 8, 63} <= {w.channels for w in SMALL}
    assert {1, 3, 5, 11} <= {w.taps for w in SMALL}
    assert {1, 2} <= {w.dilation for w in SMALL}
    assert {(r, p) for r in ("floor", "trunc") for p in (False, True)} <= {
        (w.rounding, w.padded) for w in SMALL
    }
    assert {"float32", "bfloat16", "float16"} <= {w.dtype for w in SMALL}
    assert any(w.batch > 1 for w in SMALL) and any(w.reach > 2 * w.width for w in SMALL)


@pytest.mark.parametrize("workload", SMALL, ids=lambda w: w.name)
def test_inputs_are_what_the_workload_says(workload):
    image, *fields = workload.inputs(seed=5)
    assert image.shape == workload.image_shape
    assert {field.shape for field in fields} == {workload.field_shape}
    assert {str(array.dtype) for array in (image, *fields)} == {workload.dtype}
    for array, again in zip((image, *fields), workload.inputs(seed=5), strict=True):
        np.testing.assert_array_equal(array, again)
