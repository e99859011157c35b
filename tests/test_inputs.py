"""What is no array, no frame or no parameters is refused by every public function, with the way there."""

import re
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import vfijax
from vfijax import losses, metrics
from vfijax.inputs import check_arrays, whole_number
from vfijax.models import create, forward, narrow
from vfijax.models.zooming import forward_clip
from vfijax.ops import adacof, adaptive_conv, bicubic, deform_conv, dsepconv, sepconv
from vfijax.pairs import find_motion
from vfijax.perceptual import Lpips, lpips, vgg_features
from vfijax.video import interpolate_video, zoom_video

FRAME = np.random.default_rng(0).uniform(0, 1, (32, 32, 3)).astype(np.float32)
BATCH, CLIP = FRAME[None], np.stack([FRAME] * 2)
FIELD = np.zeros((1, 1, 32, 32), np.float32)
BLEND = create("blend", 0)


@cache
def zooming():
    return create(narrow("zooming_slowmo", 2, groups=2, blocks=0, ablation="a"), 0)


# name: (a call with a bad array in place of a frame, a good one, the name of the argument)
PAIRS = {
    "interpolate": (lambda bad: vfijax.interpolate(BLEND, bad, FRAME), FRAME, "f0"),
    "interpolate, last": (lambda bad: vfijax.interpolate(BLEND, FRAME, bad), FRAME, "f1"),
    "interpolate_n": (lambda bad: vfijax.interpolate_n(BLEND, bad, FRAME, 2), FRAME, "f0"),
    "find_motion": (lambda bad: find_motion(BLEND, bad, FRAME), FRAME, "f0"),
    "zoom": (lambda bad: vfijax.zoom(zooming(), bad), CLIP, "frames"),
}
BATCHES = {
    "forward": (lambda bad: forward(BLEND, bad, BATCH), BATCH, "f0"),
    "forward_clip": (lambda bad: forward_clip(zooming(), bad), CLIP[None], "frames"),
}
MEASURES = {
    name: (lambda bad, name=name: getattr(metrics, name)(FRAME, bad), FRAME, "target")
    for name in ("psnr", "ssim", "ssim_gaussian", "rmse", "mean_absolute_error")
}
LPIPS = Lpips({}, "alex")
OF_AUX = ("motion", "smoothness", "occlusion_smoothness")  # losses of no frames
LOSSES = {
    "lpips": (lambda bad: lpips(LPIPS, FRAME, bad), FRAME, "target"),
    "vgg_features": (lambda bad: vgg_features({}, bad), BATCH, "image"),
    **{
        f"loss {name}": (lambda bad, name=name: getattr(losses, name)(FRAME, bad), FRAME, "target")
        for name in sorted({*losses.LOSSES} - {"charbonnier_flip", "vgg", "vgg19", *OF_AUX})
    },
    "loss vgg": (lambda bad: losses.vgg(FRAME, bad, {}), FRAME, "target"),
    "loss vgg19": (lambda bad: losses.vgg19(FRAME, bad, {}), FRAME, "target"),
    "loss flip": (lambda bad: losses.charbonnier_flip(FRAME, bad, {"flipped": FRAME}), FRAME, "target"),
    "loss, weighted": (
        lambda bad: losses.weighted(losses.LossWeights(), FRAME, bad, {}),
        FRAME,
        "target",
    ),
}
OPS = {
    "adacof": (lambda bad: adacof(bad, FIELD, FIELD, FIELD), BATCH, "image"),
    "adacof, weight": (lambda bad: adacof(BATCH, bad, FIELD, FIELD), FIELD, "weight"),
    "sepconv": (lambda bad: sepconv(bad, FIELD, FIELD), BATCH, "image"),
    "sepconv, kernel": (lambda bad: sepconv(BATCH, FIELD, bad), FIELD, "horizontal"),
    "adaptive_conv": (lambda bad: adaptive_conv(bad, FIELD), BATCH, "image"),
    "dsepconv": (lambda bad: dsepconv(bad, FIELD, FIELD, FIELD, FIELD), BATCH, "image"),
    "dsepconv, mask": (lambda bad: dsepconv(BATCH, FIELD, FIELD, FIELD, FIELD, bad), FIELD, "mask"),
    "bicubic": (lambda bad: bicubic(bad, FIELD[0], FIELD[0]), BATCH, "image"),
    "bicubic, offset": (lambda bad: bicubic(BATCH, FIELD[0], bad), FIELD[0], "offset_x"),
    "deform_conv": (
        lambda bad: deform_conv(bad, FIELD, FIELD, FIELD, np.zeros((1, 1, 3, 1)), padding=0),
        BATCH,
        "image",
    ),
}
EVERY = PAIRS | BATCHES | MEASURES | LOSSES | OPS
SCALED = {n: EVERY[n] for n in EVERY if n not in OPS and n not in ("rmse", "mean_absolute_error")}


class FakeTensor:
    """What can be known of another library's array without having it."""

    shape, dtype = (32, 32, 3), "torch.float32"


FakeTensor.__module__ = "torch"


def picture(array):
    image = pytest.importorskip("PIL.Image")
    return image.new("RGB", (32, 32))


NO_ARRAYS = {
    "a tensor of PyTorch": (
        lambda a: FakeTensor(),
        r"FakeTensor; .*\.detach\(\)\.cpu\(\)\.numpy\(\).*movedim",
    ),
    "an image of Pillow": (picture, r"Image; give a NumPy or JAX array, such as np\.asarray\(.*'RGB'\)\)"),
    "a list": (lambda a: a.tolist(), r"list; .* such as np\.asarray\(.*, np\.float32\)"),
    "a tuple": (lambda a: tuple(a), "tuple; give a NumPy or JAX array"),
    "a path": (lambda a: Path("a.png"), r"PosixPath 'a\.png'; .*vfijax\.media\.read_image"),
    "a name": (lambda a: "a.png", r"str 'a\.png'; .*vfijax\.media\.read_image"),
    "nothing": (lambda a: None, "NoneType; give a NumPy or JAX array"),
    "another byte order": (lambda a: a.astype(">f4"), r">f4, of foreign byte order; .*astype\('float32'\)"),
    "another byte order, 16 bits": (lambda a: a.astype(">u2"), r">u2, of foreign byte .*astype\('uint16'\)"),
    "a masked array": (np.ma.masked_array, r"a masked array; give .*\.filled\(0\)"),
    "more digits than JAX has": (lambda a: a.astype(np.longdouble), r".*; give .*\.astype\(np\.float32\)"),
}


@pytest.mark.parametrize("given", NO_ARRAYS)
@pytest.mark.parametrize("function", EVERY)
def test_what_is_no_array_for_jax_is_refused_with_the_way_to_one(function, given):
    call, good, name = EVERY[function]
    make, message = NO_ARRAYS[given]
    if given == "nothing" and name == "mask":
        pytest.skip("which is allowed")
    with pytest.raises(TypeError, match=f"{name} is {message}"):
        call(make(good))


def test_a_real_tensor_is_refused_as_well():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"f0 is Tensor; .* such as f0\.detach\(\)\.cpu\(\)\.numpy\(\)"):
        vfijax.interpolate(BLEND, torch.zeros(3, 32, 32), FRAME)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "bool", "complex64"])
@pytest.mark.parametrize("function", EVERY)
def test_other_numbers_than_a_function_takes_are_refused_with_what_it_takes(function, dtype):
    call, good, name = EVERY[function]
    if function in PAIRS and dtype == "uint8":
        pytest.skip("frames may be 8-bit")
    bad = good.astype(dtype)
    with pytest.raises(TypeError, match=rf"{name} is {dtype}; .*float"):
        call(bad)


def test_16_bit_frames_are_told_their_divisor():
    with pytest.raises(
        TypeError, match=re.escape("f0 is uint16; give uint8 (0 to 255) or float (0 to 1), such as")
    ):
        vfijax.interpolate(BLEND, FRAME.astype(np.uint16), FRAME.astype(np.uint16))
    with pytest.raises(TypeError, match=re.escape("frames.astype(np.float32) / 65535")):
        vfijax.zoom(zooming(), CLIP.astype(np.uint16))


SCALES = {
    "0 to 255": (
        lambda a: 255 * a,
        r"values from .* to 25.*; floats from 0 to 1 are needed, such as {} / 255",
    ),
    "0 to 65535": (lambda a: 65535 * a, "floats from 0 to 1 are needed"),
    "-1 to 1": (lambda a: 2 * a - 1, r"floats from 0 to 1 are needed, such as \({} \+ 1\) / 2"),
}


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("function", SCALED)
def test_floats_of_another_scale_are_refused_with_the_divisor(function, scale, array):
    call, good, name = SCALED[function]
    make, message = SCALES[scale]
    with pytest.raises(ValueError, match=f"{name} has .*{message.format(name)}"):
        call(array(make(good)))


def test_values_of_no_usual_scale_are_given_no_formula():
    with pytest.raises(ValueError, match=r"from -5 to -4; floats from 0 to 1 are needed$"):
        vfijax.interpolate(BLEND, np.clip(FRAME - 5, -5, -4), FRAME)


def test_a_little_overshoot_of_a_network_is_no_other_scale():
    frames = 1.8 * FRAME - 0.4
    np.testing.assert_array_equal(vfijax.interpolate(BLEND, frames, frames), frames)


def test_the_scale_of_a_prediction_is_nobodys_mistake():
    assert np.isfinite(metrics.psnr(100 * FRAME, FRAME)) and np.isfinite(losses.l1(100 * FRAME, FRAME))


def test_scores_take_other_scales_with_their_peak():
    assert np.isinf(metrics.psnr(255 * FRAME, 255 * FRAME, peak=255))
    with pytest.raises(ValueError, match="floats from 0 to 255 are needed"):
        metrics.ssim(65535 * FRAME, 65535 * FRAME, peak=255)
    for peak in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=f"psnr: peak is {peak}; it must be positive"):
            metrics.psnr(FRAME, FRAME, peak=peak)
    with pytest.raises(TypeError, match="peak is 'x'"):
        metrics.psnr(FRAME, FRAME, peak="x")


# -------------------------------------------------------------------------------------- empty axes


@pytest.mark.parametrize("function", EVERY)
@pytest.mark.parametrize("axis", [0, -1])
def test_an_axis_without_an_element_is_refused(function, axis):
    call, good, name = EVERY[function]
    with pytest.raises(ValueError, match=rf"{name} (has shape|is)? ?\(?.*\b0"):
        call(np.take(good, [], axis=axis))


def test_a_batch_of_none_is_named():
    with pytest.raises(ValueError, match=r"prediction has shape \(0, 32, 32, 3\); every axis needs"):
        metrics.psnr(BATCH[:0], BATCH)
    with pytest.raises(ValueError, match=r"f0 has shape \(0, 32, 32, 3\), a batch of none; give one"):
        vfijax.interpolate(BLEND, BATCH[:0], BATCH[:0])


# ------------------------------------------------------------------------------------------ losses


@pytest.mark.parametrize("name", [name for name in LOSSES if name.startswith("loss")])
def test_frames_that_do_not_agree_are_not_broadcast_by_a_loss(name):
    call, good, _ = LOSSES[name]
    with pytest.raises(ValueError, match=r"prediction is \(32, 32, 3\) but target is \(1, 32, 32, 3\)"):
        call(good[None])


# -------------------------------------------------------------------------------------- parameters

TAKERS = {
    "interpolate": lambda p: vfijax.interpolate(p, FRAME, FRAME),
    "interpolate_n": lambda p: vfijax.interpolate_n(p, FRAME, FRAME, 2),
    "find_motion": lambda p: find_motion(p, FRAME, FRAME),
    "zoom": lambda p: vfijax.zoom(p, CLIP),
    "forward": lambda p: forward(p, BATCH, BATCH),
    "forward_clip": lambda p: forward_clip(p, CLIP[None]),
    "interpolate_video": lambda p: interpolate_video("a.mp4", "b.mp4", p),
    "zoom_video": lambda p: zoom_video("a.mp4", "b.mp4", p),
}


@pytest.mark.parametrize("taker", TAKERS)
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("runs/x", r"str 'runs/x'; .* give vfijax\.load\('runs/x'\)"),
        (Path("runs/x"), r"PosixPath 'runs/x'; .* give vfijax\.load\('runs/x'\)"),
        ({"unet": {}}, r"a dict; .* give vfijax\.ModelParams\(tree, config\)"),
        (None, r"NoneType; .* give what vfijax\.load or vfijax\.create returns"),
        (FRAME, "ndarray; ModelParams are needed"),
    ],
    ids=["name", "path", "tree", "nothing", "frame"],
)
def test_what_are_no_parameters_is_refused_with_the_way_to_them(taker, given, message):
    with pytest.raises(TypeError, match=f"{taker}: params is {message}"):
        TAKERS[taker](given)


@pytest.mark.parametrize("form", [repr, str, lambda p: f"{p}"])
def test_parameters_are_one_short_line(form):
    assert form(create(narrow("cdfi"), 0)) == "ModelParams(cdfi, 47,136 parameters in 314 arrays)"
    assert form(BLEND) == "ModelParams(blend, 0 parameters in 0 arrays)"


def test_whatever_a_transformation_puts_into_parameters_has_a_line_too():
    params = create(narrow("adacof", taps=3), 0)
    for function in (
        lambda leaf: True,
        lambda leaf: "x",
        jnp.shape,
        lambda leaf: jax.ShapeDtypeStruct((2,), int),
    ):
        assert repr(jax.tree.map(function, params)).startswith("ModelParams(adacof, ")
    seen = []
    jax.jit(lambda p: seen.append(repr(p)))(params)
    assert seen == [repr(params)]


def test_lpips_is_one_short_line():
    assert repr(LPIPS) == "Lpips(LPIPS alex [-1,1])"


# ----------------------------------------------------------------------------------- whole numbers


@pytest.mark.parametrize("number", [3, np.int64(3), np.uint8(3), np.asarray(3), jnp.int32(3)])
def test_whole_numbers_of_any_type_are_taken(number):
    assert whole_number("user", "n", number, 1) == 3
    assert len(list(vfijax.interpolate_n(BLEND, FRAME, FRAME, number))) == 3
    first, second = (create(narrow("adacof", taps=3), key).tree for key in (3, number))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    fields = [np.zeros((1, 1, 32, 32), np.float32)] * 3
    assert adacof(BATCH, *fields, dilation=number).shape == BATCH.shape


@pytest.mark.parametrize("number", [1.5, 3.0, "3", None, np.asarray([3]), np.float32(3), True])
def test_what_is_no_whole_number_is_refused(number):
    for call in (
        lambda: vfijax.interpolate_n(BLEND, FRAME, FRAME, number),
        lambda: create("blend", number),
        lambda: adacof(BATCH, FIELD, FIELD, FIELD, dilation=number),
        lambda: deform_conv(BATCH, FIELD, FIELD, FIELD, np.zeros((1, 1, 3, 1)), stride=number),
        lambda: deform_conv(BATCH, FIELD, FIELD, FIELD, np.zeros((1, 1, 3, 1)), padding=number),
    ):
        with pytest.raises(TypeError, match=r"(n|key|dilation|stride|padding) is .*whole number"):
            call()
    if number is not None:
        with pytest.raises(TypeError, match=r"window is .*; give a whole number of frames"):
            vfijax.zoom(zooming(), CLIP, window=number)


def test_a_traced_number_is_said_to_be_one():
    with pytest.raises(TypeError, match="interpolate_n: n is traced; a whole number is needed"):
        jax.jit(lambda n: list(vfijax.interpolate_n(BLEND, FRAME, FRAME, n)))(3)
    with pytest.raises(TypeError, match=r"create: key is traced; .* outside of jax\.jit"):
        jax.jit(lambda key: create("blend", key))(3)


def test_keys_of_jax_are_taken_and_others_refused():
    narrow_one = narrow("adacof", taps=3)
    keys = (jax.random.key(3), jax.random.PRNGKey(3), jax.random.key_data(jax.random.key(3)))
    first, *others = (create(narrow_one, key).tree for key in keys)
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, first, other)
    with pytest.raises(ValueError, match="create: key is -1; at least 0 is needed"):
        create("blend", -1)
    with pytest.raises(TypeError, match=r"create: name is dict; give the name of a model or a config"):
        create({}, 0)
    with pytest.raises(TypeError, match="the name of the model is CDFIConfig; give a str, such as 'cdfi'"):
        vfijax.convert.from_torch(vfijax.MODELS["cdfi"], {})


def test_the_key_of_a_generator_is_no_image():
    with pytest.raises(ValueError, match="four axes are needed"):
        check_arrays("user", x=jax.random.key(0))
        adacof(jax.random.key(0), FIELD, FIELD, FIELD)


@pytest.mark.parametrize("implementation", ["xle", None, "Auto"])
def test_an_unknown_implementation_is_refused_whether_it_is_used_or_not(implementation):
    for call in (
        lambda: vfijax.interpolate(BLEND, FRAME, FRAME, implementation=implementation),
        lambda: vfijax.interpolate_n(BLEND, FRAME, FRAME, 2, implementation=implementation),
        lambda: forward(BLEND, BATCH, BATCH, implementation=implementation),
    ):
        with pytest.raises(ValueError, match=f"unknown implementation {implementation!r}"):
            call()


def test_an_unknown_precision_is_refused():
    for call in (
        lambda: forward(BLEND, BATCH, BATCH, precision="float8"),
        lambda: forward_clip(zooming(), CLIP[None], precision="float8"),
    ):
        with pytest.raises(ValueError, match="precision is 'float8'; give one of float32, bfloat16"):
            call()


def test_an_even_number_of_taps_has_no_centre_unless_the_image_is_padded():
    lines, taps = np.zeros((1, 2, 32, 32), np.float32), np.zeros((1, 4, 32, 32), np.float32)
    with pytest.raises(
        ValueError, match="dsepconv: n=2 is even, so that no tap is the centre; pad the image"
    ):
        dsepconv(BATCH, lines, lines, taps, taps)
    padded = np.pad(BATCH, [(0, 0), (0, 1), (0, 1), (0, 0)])
    assert dsepconv(padded, lines, lines, taps, taps).shape == BATCH.shape
