"""The layers are those of the published networks, against their formulas in plain NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.tolerance import close
from vfijax.layers import (
    BatchNorm,
    Conv,
    HetConv,
    PReLU,
    convolve,
    mean_pool,
    pad_edges,
    pad_to_multiple,
    resize,
    side_by_side,
    upsample,
)

pytestmark = pytest.mark.usefixtures("strict")


def image(height, width, channels=2, batch=2, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, height, width, channels)).astype(np.float32)


# ----------------------------------------------------------------------------------------- padding


@pytest.mark.parametrize("size", range(2, 41))
def test_padding_reaches_the_next_multiple_by_reflection(size):
    x = image(size, 42 - size, batch=1)
    padded = pad_to_multiple(jnp.asarray(x), 32)
    pads = [-side % 32 for side in x.shape[1:3]]
    assert all(side % 32 == 0 for side in padded.shape[1:3])
    expected = np.pad(x, [(0, 0), (0, pads[0]), (0, pads[1]), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(padded, expected)


@pytest.mark.parametrize("size", range(17, 33))
def test_where_the_published_padding_works_ours_is_the_same(size):
    """One reflection, rows size - 2, size - 3, ..., and none for a multiple."""
    x = image(size, 32, batch=1)
    rows = [*range(size), *range(size - 2, size - 2 - (32 - size), -1)]
    np.testing.assert_array_equal(pad_to_multiple(jnp.asarray(x), 32), x[:, rows])


def test_multiples_are_left_alone():
    x = jnp.asarray(image(64, 96, batch=1))
    np.testing.assert_array_equal(pad_to_multiple(x, 32), x)


def test_edges_are_replicated():
    x = image(3, 4)
    rows, columns = np.clip(np.arange(-2, 5), 0, 2), np.clip(np.arange(-2, 6), 0, 3)
    np.testing.assert_array_equal(pad_edges(jnp.asarray(x), 2), x[:, rows][:, :, columns])


# ---------------------------------------------------------------------------------------- resizing


def interpolated(x, axis, source):
    """Linear interpolation at the positions `source`, edges clamped."""
    source = np.clip(source, 0, x.shape[axis] - 1)
    low = np.minimum(source.astype(int), x.shape[axis] - 1)
    high = np.minimum(low + 1, x.shape[axis] - 1)
    rest = (source - low).reshape([-1 if a == axis else 1 for a in range(4)])
    return np.take(x, low, axis) * (1 - rest) + np.take(x, high, axis) * rest


def half_pixel(old, new):
    return (np.arange(new) + 0.5) * old / new - 0.5


def corners_aligned(old, new):
    return np.arange(new) * (old - 1) / (new - 1)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (2, 3), (7, 4), (16, 9)])
def test_upsampling_doubles_bilinearly(height, width, align_corners):
    x = image(height, width)
    positions = corners_aligned if align_corners else half_pixel
    expected = interpolated(x.astype(float), 1, positions(height, 2 * height))
    expected = interpolated(expected, 2, positions(width, 2 * width))
    close(upsample(jnp.asarray(x), align_corners=align_corners), expected)


@pytest.mark.parametrize("old", [(1, 1), (3, 5), (6, 8), (34, 10)])
@pytest.mark.parametrize("new", [(1, 1), (4, 3), (11, 20), (52, 7)])
def test_resizing_has_half_pixel_centres_and_no_antialiasing(old, new):
    x = image(*old)
    expected = interpolated(x.astype(float), 1, half_pixel(old[0], new[0]))
    expected = interpolated(expected, 2, half_pixel(old[1], new[1]))
    close(resize(jnp.asarray(x), new), expected, terms=4)


def test_resizing_to_twice_the_size_is_upsampling():
    x = jnp.asarray(image(5, 6))
    close(resize(x, (10, 12)), upsample(x, align_corners=False))


@pytest.mark.parametrize("align_corners", [False, True])
def test_resizing_is_that_of_torch(align_corners):
    torch = pytest.importorskip("torch", reason="PyTorch is an optional package")
    x = image(5, 7)
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(x.transpose(0, 3, 1, 2).copy()),
        size=(10, 14) if align_corners else (13, 4),
        mode="bilinear",
        align_corners=align_corners,
    )
    ours = upsample(jnp.asarray(x), align_corners=True) if align_corners else resize(jnp.asarray(x), (13, 4))
    close(ours, resized.numpy().transpose(0, 2, 3, 1), terms=4)


def test_pooling_is_the_mean_of_blocks():
    x = image(6, 8)
    close(mean_pool(jnp.asarray(x)), x.reshape(2, 3, 2, 4, 2, 2).mean((2, 4)))


# ------------------------------------------------------------------------------------ convolutions


def correlated(x, kernel, stride=1, padding=1, groups=1, dilation=1):
    """Zero padding, no flip: the sum over kernel rows and columns of shifted products, group by group."""
    if groups > 1:
        pairs = zip(np.split(x, groups, -1), np.split(kernel, groups, -1), strict=True)
        return np.concatenate([correlated(*pair, stride, padding, 1, dilation) for pair in pairs], -1)
    reach = (kernel.shape[0] - 1) * dilation
    x = np.pad(x.astype(float), [(0, 0), (padding, padding), (padding, padding), (0, 0)])
    height, width = ((side - 1 - reach) // stride + 1 for side in x.shape[1:3])
    total = 0
    for k in range(kernel.shape[0]):
        for l in range(kernel.shape[0]):
            shifted = x[:, k * dilation :: stride, l * dilation :: stride]
            total = total + shifted[:, :height, :width] @ kernel[k, l].astype(float)
    return total


# Height and width, side of the kernel, and what is not 1.
CONVOLUTIONS = [
    ((7, 6), 3, {}),
    ((8, 6), 3, {"stride": 2}),
    ((7, 5), 3, {"stride": 2}),
    ((4, 5), 1, {}),
    ((1, 1), 3, {}),
    ((4, 5), 1, {"padding": 0}),
    ((6, 5), 3, {"groups": 3}),
    ((6, 5), 1, {"padding": 0, "groups": 3}),
    ((6, 7), 2, {"padding": 0, "dilation": 3}),
    ((6, 7), 3, {"padding": 2, "dilation": 2, "groups": 3, "stride": 2}),
]
EVERY_CONVOLUTION = pytest.mark.parametrize(("shape", "size", "window"), CONVOLUTIONS)


@EVERY_CONVOLUTION
def test_convolution_is_a_correlation_with_zero_padding(shape, size, window):
    x, inputs = image(*shape, channels=6), 6 // window.get("groups", 1)
    kernel = jnp.asarray(image(size, size, 3 * inputs)[0]).reshape(size, size, inputs, 3)
    params = {"kernel": kernel, "bias": jnp.arange(3.0)}
    expected = correlated(x, np.asarray(kernel), **window) + np.arange(3.0)
    layer = Conv(3, size=size, **window)
    close(layer.apply({"params": params}, jnp.asarray(x)), expected, terms=27)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(
        jnp.shape, dict(layer.init(jax.random.key(0), jnp.asarray(x))["params"])
    )


@EVERY_CONVOLUTION
def test_gradients_of_the_convolution_are_exact(shape, size, window, float64):
    """A bilinear function: its gradients, contracted with a direction, are the function itself there."""
    rng = np.random.default_rng(0)
    x, other_x = rng.normal(size=(2, 2, *shape, 6))
    kernel, other_kernel = rng.normal(size=(2, size, size, 6 // window.get("groups", 1), 3))
    out, vjp = jax.vjp(lambda x, k: convolve(x, k, **window), jnp.asarray(x), jnp.asarray(kernel))
    cotangent = rng.normal(size=out.shape)
    d_x, d_kernel = vjp(jnp.asarray(cotangent))
    expected = np.vdot(cotangent, correlated(other_x, kernel, **window))
    np.testing.assert_allclose(np.vdot(d_x, other_x), expected)
    expected = np.vdot(cotangent, correlated(x, other_kernel, **window))
    np.testing.assert_allclose(np.vdot(d_kernel, other_kernel), expected)


def test_a_heterogeneous_convolution_is_the_sum_of_two_branches_less_the_third():
    rng = np.random.default_rng(0)
    x = image(5, 6, channels=8)
    like = HetConv(12).init(jax.random.key(0), jnp.asarray(x))["params"]
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), like)
    sizes = {"grouped": (3, 3, 2, 12), "pointwise": (1, 1, 8, 12), "pointwise_grouped": (1, 1, 2, 12)}
    assert {name: branch["kernel"].shape for name, branch in params.items()} == sizes

    def branch(name, **window):
        return correlated(x, params[name]["kernel"], **window) + params[name]["bias"]

    expected = branch("grouped", groups=4) + branch("pointwise", padding=0)
    expected = expected - branch("pointwise_grouped", padding=0, groups=4)
    close(HetConv(12).apply({"params": params}, jnp.asarray(x)), expected, terms=30)


def test_a_normalisation_uses_its_stored_statistics_and_sends_them_no_gradient():
    rng = np.random.default_rng(0)
    x = image(5, 6, channels=3)
    params = {name: np.float32(rng.uniform(0.5, 1.5, 3)) for name in ("scale", "bias", "mean", "variance")}
    spread = np.sqrt(params["variance"] + 1e-5)
    expected = (x - params["mean"]) / spread * params["scale"] + params["bias"]
    close(BatchNorm().apply({"params": params}, jnp.asarray(x)), expected)
    slopes = jax.grad(lambda p: jnp.sum(jnp.square(BatchNorm().apply({"params": p}, jnp.asarray(x)))))(params)
    assert {name for name, slope in slopes.items() if not np.any(slope)} == {"mean", "variance"}


@pytest.mark.parametrize("size", [(2, 3), (31, 40), (64, 32)])
def test_padding_by_replication_repeats_the_last_row_and_column(size):
    x = image(*size, batch=1)
    pads = [(0, -side % 32) for side in size]
    expected = np.pad(x, [(0, 0), *pads, (0, 0)], mode="edge")
    np.testing.assert_array_equal(pad_to_multiple(jnp.asarray(x), 32, "edge"), expected)


@pytest.mark.parametrize("window", [{}, {"stride": 2}, {"size": 1, "padding": 0}])
def test_several_inputs_are_convolved_as_if_concatenated(window):
    rng = np.random.default_rng(5)
    parts = [jnp.asarray(rng.normal(size=(2, 6, 7, channels)), jnp.float32) for channels in (3, 1, 4)]
    conv, joined = Conv(5, **window), jnp.concatenate(parts, axis=-1)
    variables = conv.init(jax.random.key(0), joined)
    bias = jnp.asarray(rng.normal(size=5), jnp.float32)
    variables = {"params": variables["params"] | {"bias": bias}}
    close(conv.apply(variables, *parts), conv.apply(variables, joined), terms=72)


def test_convolutions_side_by_side_equal_one_after_the_other():
    class Several(nn.Module):
        joined: bool

        @nn.compact
        def __call__(self, x):
            convs = [Conv(features, name=f"conv{features}") for features in (2, 5, 3)]
            return side_by_side(convs, x) if self.joined else [conv(x) for conv in convs]

    x = jnp.asarray(image(5, 6, channels=3))
    kernels = {n: jnp.asarray(image(3, 3, 3 * n)[0]).reshape(3, 3, 3, n) for n in (2, 5, 3)}
    layers = {f"conv{n}": {"kernel": kernel, "bias": jnp.arange(1.0 * n)} for n, kernel in kernels.items()}
    variables = {"params": layers}
    together, apart = (Several(joined).apply(variables, x) for joined in (True, False))
    for found, expected in zip(together, apart, strict=True):
        close(found, expected, terms=27)


def test_prelu_has_one_slope_below_zero():
    x = jnp.asarray([-2.0, 0.0, 3.0])
    params = PReLU().init(jax.random.key(0), x)["params"]
    assert params["slope"].shape == (1,)
    np.testing.assert_array_equal(PReLU().apply({"params": params}, x), [-0.5, 0, 3])
