"""`interpolate`, `interpolate_n` and `zoom` inside transformations, with arrays passed or closed over."""

from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import vfijax
from tests.tolerance import close
from vfijax.channels import ChannelGraph
from vfijax.models import ModelConfig, create, narrow
from vfijax.models.flow import on_host

# A network that takes all that networks can take, and compiles in no time.


class Fade(nn.Module):
    """gain ((1 - t) f0 + t f1) + motion / 100."""

    @nn.compact
    def __call__(self, f0, f1, t=0.5, *, motion):
        gain = self.param("gain", nn.initializers.ones_init(), (1,))
        t = jnp.broadcast_to(t, f0.shape[:1]).reshape(-1, 1, 1, 1)
        frame = gain.reshape(1, 1, 1, 1) * ((1 - t) * f0 + t * f1)
        return frame + motion[:, 0, 0][..., None] / 100, {"offsets": (), "masks": {}, "warped": ()}


def brightening(first, last):
    """Found on the host, as optical flow is: by how many levels the last frame is brighter."""
    return np.full((2, 2, *first.shape[:2]), last.mean() - first.mean(), np.float32)


@dataclass(frozen=True)
class FadeConfig(ModelConfig):
    architecture: ClassVar[str] = "fade"
    any_time: ClassVar[bool] = True
    stride: ClassVar[int] = 4
    guesses: ClassVar[int] = 2

    def motion(self, tree, f0, f1):
        return on_host(brightening, 2, f0, f1)

    def module(self, implementation="auto", reference_grads=False):
        return Fade()

    def graph(self):
        return ChannelGraph({}, ())


FADE = vfijax.ModelParams({"gain": jnp.full((1,), 1.25)}, FadeConfig("fade"))
MODELS = {"fade": FADE, "blend": create("blend", 0)}


def pair(array=np.asarray, dtype=np.float32):
    frames = np.random.default_rng(0).uniform(0.1, 0.9, (2, 2, 5, 6, 3))
    frames = (frames * 255).astype(dtype) if dtype == np.uint8 else frames.astype(dtype)
    return array(frames[0]), array(frames[1])


def at(t):
    return lambda q, a, b: vfijax.interpolate(q, a, b, t=t)


# Each calls f(params, first, last) and gives what f gives outside of everything.
FORMS = {
    "jit, all passed": lambda f, q, a, b: jax.jit(f)(q, a, b),
    "jit, frames closed over": lambda f, q, a, b: jax.jit(lambda q: f(q, a, b))(q),
    "jit, one frame closed over": lambda f, q, a, b: jax.jit(lambda a: f(q, a, b))(a),
    "jit, all closed over": lambda f, q, a, b: jax.jit(lambda: f(q, a, b))(),
    "jit in jit": lambda f, q, a, b: jax.jit(lambda q: jax.jit(lambda a: f(q, a, b))(a))(q),
    "vmap": lambda f, q, a, b: jax.vmap(lambda a, b: f(q, a, b))(a, b),
    "vmap, one frame closed over": lambda f, q, a, b: jnp.stack(
        [jax.vmap(lambda a, last=last: f(q, a, last))(a)[i] for i, last in enumerate(b)]
    ),
    "jit of vmap": lambda f, q, a, b: jax.jit(jax.vmap(f, (None, 0, 0)))(q, a, b),
    "vmap of vmap": lambda f, q, a, b: jax.vmap(jax.vmap(f, (None, 0, 0)), (None, 0, 0))(q, a[None], b[None])[
        0
    ],
    "lax.map": lambda f, q, a, b: lax.map(lambda pair: f(q, *pair), (a, b)),
    "lax.map, frames closed over": lambda f, q, a, b: lax.map(lambda _: f(q, a, b), jnp.arange(2))[1],
    "lax.scan": lambda f, q, a, b: lax.scan(lambda q, _: (q, f(q, a, b)), q, jnp.arange(2))[1][1],
    "lax.cond": lambda f, q, a, b: jax.jit(lambda yes: lax.cond(yes, lambda: f(q, a, b), lambda: f(q, b, a)))(
        True
    ),
    "checkpoint": lambda f, q, a, b: jax.checkpoint(f)(q, a, b),
    "jit of checkpoint": lambda f, q, a, b: jax.jit(jax.checkpoint(lambda q: f(q, a, b)))(q),
    "eval_shape": lambda f, q, a, b: (jax.eval_shape(lambda q: f(q, a, b), q), f(q, a, b))[1],
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("form", FORMS)
def test_a_frame_is_the_same_inside_every_transformation(form, array, model):
    f0, f1 = pair(array)
    expected = at(0.25)(MODELS[model], f0, f1)
    close(FORMS[form](at(0.25), MODELS[model], f0, f1), expected)


@pytest.mark.parametrize("form", ["jit, frames closed over", "vmap", "lax.map"])
def test_8_bit_frames_too(form):
    f0, f1 = pair(dtype=np.uint8)
    found = FORMS[form](at(0.5), FADE, f0, f1)
    assert found.dtype == jnp.uint8
    np.testing.assert_array_equal(found, at(0.5)(FADE, f0, f1))


GRADIENTS = {
    "grad": jax.grad,
    "jit of grad": lambda f: jax.jit(jax.grad(f)),
    "grad of jit": lambda f: jax.grad(jax.jit(f)),
    "grad of checkpoint": lambda f: jax.grad(jax.checkpoint(f)),
    "jit of grad of checkpoint": lambda f: jax.jit(jax.grad(jax.checkpoint(f))),
}


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("form", GRADIENTS)
def test_gradients_are_the_same_inside_every_transformation(form, array):
    f0, f1 = pair(array)
    of = GRADIENTS[form]
    of_params = of(lambda q: jnp.mean(at(0.25)(q, f0, f1)))(FADE)
    close(of_params.tree["gain"], np.mean(0.75 * np.asarray(f0) + 0.25 * np.asarray(f1))[None])
    of_frame = of(lambda f: jnp.sum(at(0.25)(FADE, f, f1)))(f0)
    close(of_frame, np.full_like(f0, 1.25 * 0.75))  # nothing through the motion
    of_time = of(lambda t: jnp.mean(at(t)(FADE, f0, f1)))(0.25)
    close(of_time, 1.25 * (np.mean(f1) - np.mean(f0)))


# ------------------------------------------------------------------------------------------ times

KINDS_OF_NUMBER = {
    "float": float,
    "NumPy scalar": np.float32,
    "NumPy double": np.float64,
    "array without axes": np.asarray,
    "JAX scalar": jnp.float32,
}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("kind", KINDS_OF_NUMBER)
def test_a_time_may_be_any_kind_of_number_also_closed_over(kind, model):
    f0, f1 = pair()
    expected = at(0.25)(MODELS[model], f0, f1)
    function = at(KINDS_OF_NUMBER[kind](0.25))
    for form in ("jit, frames closed over", "vmap"):
        close(FORMS[form](function, MODELS[model], f0, f1), expected)
    close(function(MODELS[model], f0, f1), expected)


TRACED = {
    "jit": lambda f: jax.jit(f)(0.25),
    "jit, a whole number": lambda f: jax.jit(lambda t: f(t / 4))(1),
    "vmap": lambda f: jax.vmap(f)(jnp.asarray([0.5, 0.25]))[1],
    "lax.map": lambda f: lax.map(f, jnp.asarray([0.5, 0.25]))[1],
    "checkpoint": lambda f: jax.checkpoint(f)(0.25),
}


@pytest.mark.parametrize("form", TRACED)
def test_a_traced_time_makes_the_frame_at_that_time_with_a_model_for_any(form):
    f0, f1 = pair()
    close(TRACED[form](lambda t: at(t)(FADE, f0, f1)), at(0.25)(FADE, f0, f1))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("array", [list, np.asarray, jnp.asarray])
def test_every_frame_of_a_batch_may_have_its_own_time(array, model):
    f0, f1 = pair()
    found = at(array([0.25, 0.75]))(MODELS[model], f0, f1)
    for i, t in enumerate((0.25, 0.75)):
        close(found[i], at(t)(MODELS[model], f0[i], f1[i]))


def test_times_of_a_batch_may_be_traced():
    f0, f1 = pair()
    found = jax.jit(lambda t: at(t)(FADE, f0, f1))(jnp.asarray([0.25, 0.75]))
    close(found, at([0.25, 0.75])(FADE, f0, f1))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_traced_time_at_an_end_gives_the_frame_that_was_given(dtype):
    f0, f1 = pair(dtype=dtype)
    found = jax.jit(lambda t: at(t)(FADE, f0, f1))(jnp.asarray([0.0, 1.0]))
    np.testing.assert_array_equal(found, np.stack([f0[0], f1[1]]))
    assert found.dtype == dtype


def test_a_traced_time_is_refused_by_a_model_for_the_middle_with_the_way_there():
    f0, f1 = pair()
    with pytest.raises(TypeError, match=r"t is traced, and blend knows the middle only.*static_argnames='t'"):
        jax.jit(lambda t: at(t)(MODELS["blend"], f0, f1))(0.25)
    static = jax.jit(vfijax.interpolate, static_argnames="t")
    close(static(MODELS["blend"], f0, f1, t=0.25), at(0.25)(MODELS["blend"], f0, f1))


@pytest.mark.parametrize(
    ("t", "error", "message"),
    [
        ("x", TypeError, "t is 'x'; give a number"),
        (None, TypeError, "t is None; give a number"),
        (True, TypeError, "t is True; give a number"),
        (0.5j, TypeError, "t is 0.5j; give a number"),
        ([0.5, 1.5], ValueError, r"t is \[0.5, 1.5\]; give a time from 0"),
        ([0.5, np.nan], ValueError, r"t is \[0.5, nan\]; give a time from 0"),
        (
            [0.5] * 3,
            ValueError,
            r"t has shape \(3,\); give a number or one for each frame of the batch, \(2,",
        ),
        ([[0.5]], ValueError, r"t has shape \(1, 1\)"),
    ],
)
@pytest.mark.parametrize("model", MODELS)
def test_what_is_no_time_is_refused(model, t, error, message):
    with pytest.raises(error, match=f"interpolate: {message}"):
        at(t)(MODELS[model], *pair())


@pytest.mark.slow
def test_a_real_network_for_any_time_takes_traced_times_and_their_gradients():
    params = create(narrow("edsc_m", 4, taps=1, masks=False), 0)
    f0, f1 = (frame[:, :4, :4] for frame in pair())
    traced = jax.jit(jax.value_and_grad(lambda t: jnp.mean(at(t)(params, f0, f1))))
    value, slope = traced(0.25)
    close(value, jnp.mean(at(0.25)(params, f0, f1)), terms=100)
    assert np.isfinite(slope) and slope != 0


# -------------------------------------------------------------------------------- interpolate_n, zoom


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("form", ["jit, frames closed over", "jit, all passed", "vmap", "lax.map"])
def test_n_frames_are_the_same_inside_transformations(form, model):
    f0, f1 = pair()

    def frames(q, a, b):
        return jnp.stack(list(vfijax.interpolate_n(q, a, b, 3)), axis=-1)

    close(FORMS[form](frames, MODELS[model], f0, f1), frames(MODELS[model], f0, f1))


@cache
def zooming():
    return create(narrow("zooming_slowmo", 2, groups=2, blocks=0, ablation="a"), 0)


ZOOMS = {
    "jit, frames closed over": lambda q, x: jax.jit(lambda q: vfijax.zoom(q, x))(q),
    "jit of checkpoint": lambda q, x: jax.jit(jax.checkpoint(lambda x: vfijax.zoom(q, x)))(x),
    "vmap": lambda q, x: jax.vmap(lambda x: vfijax.zoom(q, x))(x[None])[0],
    "lax.map": lambda q, x: lax.map(lambda x: vfijax.zoom(q, x), x[None])[0],
    "windows": lambda q, x: jax.jit(lambda q: vfijax.zoom(q, x, window=np.int64(3)))(q),
}


@pytest.mark.parametrize("array", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("form", ZOOMS)
def test_a_clip_is_the_same_inside_transformations(form, array):
    frames = array(np.random.default_rng(0).uniform(0, 1, (3, 3, 4, 3)).astype(np.float32))
    close(ZOOMS[form](zooming(), frames), vfijax.zoom(zooming(), frames), terms=100)


def test_gradients_go_through_a_clip_that_is_closed_over():
    frames = np.random.default_rng(0).uniform(0, 1, (3, 3, 4, 3)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda q: jnp.mean(vfijax.zoom(q, frames))))(zooming())
    assert jnp.any(gradient.tree["frames"]["last"]["kernel"])
