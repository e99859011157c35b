"""The networks: `MODELS` by name, and `create`."""

import functools
import zlib
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.channels import Widths
from vfijax.command import nearest
from vfijax.inputs import known, whole_number
from vfijax.models import adacof, adaconv, cdfi, coarse, dsepconv, edsc, flow, guided, sepconv, zooming
from vfijax.models.base import ModelConfig, declared_graph, forward
from vfijax.models.blend import BlendConfig
from vfijax.params import ModelParams

__all__ = [
    "ARCHITECTURES",
    "DEFAULT",
    "MODELS",
    "ModelConfig",
    "config_for",
    "create",
    "forward",
    "narrow",
    "shapes",
]

ARCHITECTURES: dict[str, type[ModelConfig]] = {
    "adacof": adacof.AdaCoFConfig,
    "cdfi": cdfi.CDFIConfig,
    "sepconv": sepconv.SepConvConfig,
    "sepconv_kth": sepconv.ReplicationConfig,
    "adaconv": adaconv.AdaConvConfig,
    "dsepconv": dsepconv.DSepConvConfig,
    "edsc": edsc.EDSCConfig,
    "edsc_m": edsc.TimedEDSCConfig,
    "zooming_slowmo": zooming.ZoomingConfig,
    "flow": flow.FlowConfig,
    "coarse_motion": coarse.CoarseConfig,
    "guided": guided.GuidedConfig,
    "blend": BlendConfig,
}

MODELS: dict[str, ModelConfig] = {
    **adacof.CONFIGS,
    **cdfi.CONFIGS,
    **sepconv.CONFIGS,
    **adaconv.CONFIGS,
    **dsepconv.CONFIGS,
    **edsc.CONFIGS,
    **zooming.CONFIGS,
    **flow.CONFIGS,
    **coarse.CONFIGS,
    **guided.CONFIGS,
    "blend": BlendConfig("blend"),
}


DEFAULT = "flow"  # what `vfijax.load()` and commands without `--model` take; it needs no file


def config_for(name: str, **changes: Any) -> ModelConfig:
    """The config of `MODELS[name]` with some fields changed.

    Raises:
      ValueError: an unknown model or field.
      TypeError: `name` is no str.
    """
    if not isinstance(name, str):
        raise TypeError(f"the name of the model is {type(name).__name__}; give a str, such as 'cdfi'")
    if name not in MODELS:
        raise ValueError(f"unknown model {name!r}{nearest(name, MODELS)} (models: {', '.join(MODELS)})")
    return MODELS[name].replace(**changes)


def narrow(name: str, width: int = 4, **changes: Any) -> ModelConfig:
    """The config of `MODELS[name]` with `width` channels wherever the task leaves the choice.

    For tests and trials: the graph and its code are those of the full network, at a hundredth of the
    cost. `create(narrow(name), key)` makes its parameters. Spaces that are split into groups are as wide
    as the next multiple of their number.
    """
    config = config_for(name, **changes)
    if hasattr(config, "widths"):
        graph = config.graph()
        blocks = {space: graph.block_count(space) for space in config.widths}
        config = config.replace(widths=Widths.of({s: -(-width // n) * n for s, n in blocks.items()}))
    return config


@functools.cache
def shapes(config: ModelConfig) -> Any:
    """The parameter tree of a config as `jax.ShapeDtypeStruct` leaves, float32 also where x64 is enabled.

    They follow from the channel graph; where a config declares none, or one without the sizes of kernels,
    from tracing the module, which takes seconds for a large one.
    """
    graph = declared_graph(config)
    declared = None if graph is None else graph.shapes()
    if declared is None:
        return traced_shapes(config)
    leaf = partial(jax.ShapeDtypeStruct, dtype=jnp.float32)
    return jax.tree.map(leaf, declared, is_leaf=lambda node: isinstance(node, tuple))


@functools.cache
def traced_shapes(config: ModelConfig) -> Any:
    """The same by tracing the module, whatever its graph says."""
    frame = jax.ShapeDtypeStruct((1, config.stride, config.stride, 3), jnp.float32)
    motion = jax.ShapeDtypeStruct((1, config.guesses, 2, config.stride, config.stride), jnp.float32)
    named = {"motion": motion} if config.guesses else {}
    with jax.enable_x64(False):
        variables = jax.eval_shape(config.module("xla").init, jax.random.key(0), frame, frame, **named)
    return variables.get("params", {})


def create(name: str | ModelConfig, key: jax.Array | int, **changes: Any) -> ModelParams:
    """A freshly initialised model.

    Convolution weights and biases are uniform within 1/sqrt(fan_in), PReLU slopes are 0.25, normalisations
    change nothing (the framework defaults that the published networks were trained from). Each leaf is
    drawn from its own generator, seeded by `key` and the leaf's path: the same key gives the same
    parameters on every device, and a leaf does not depend on the other leaves.

    Parameters are float32, also where x64 is enabled.

    Args:
      name: an entry of `MODELS`, or a config derived from one.
      key: a whole number from 0 on, or a `jax.random` key.
      **changes: fields of the model's config, such as `taps`, `dilation` or `rounding`.

    Raises:
      ValueError: an unknown model or field, a key below 0.
      TypeError: `name` is neither, or `key` is no key or is traced.
    """
    if isinstance(name, str):
        config = config_for(name, **changes)
    elif isinstance(name, ModelConfig):
        config = name.replace(**changes)
    else:
        given = f"{type(name).__name__}; give the name of a model or a config, such as vfijax.MODELS['cdfi']"
        raise TypeError(f"create: name is {given}")
    return ModelParams(_draw(shapes(config), _seed(key), ()), config)


def _seed(key: Any) -> list[int]:
    """What starts the generators."""
    if not known(key):
        raise TypeError("create: key is traced; values are drawn by NumPy: call create outside of jax.jit")
    if np.ndim(key) == 0 and not jnp.issubdtype(getattr(key, "dtype", int), jax.dtypes.prng_key):
        return [whole_number("create", "key", key, 0)]
    try:
        return np.asarray(jax.random.key_data(key)).ravel().tolist()
    except TypeError:
        given = f"an array {key.dtype}{list(key.shape)}"
        raise TypeError(f"create: key is {given}; give a whole number or a jax.random key") from None


# Leaves that are not drawn; the bias of a normalisation (which has a scale) is zero as well.
_CONSTANT = {"slope": 0.25, "scale": 1.0, "mean": 0.0, "variance": 1.0}


def _draw(tree: Any, seed: list[int], path: tuple[str, ...]) -> Any:
    fan_in = np.prod(tree["kernel"].shape[:-1]) if "kernel" in tree else 1
    constant = {**_CONSTANT, "bias": 0.0} if "scale" in tree else _CONSTANT
    drawn = {}
    for name, leaf in tree.items():
        here = (*path, name)
        if isinstance(leaf, dict):
            drawn[name] = _draw(leaf, seed, here)
        elif name in constant:
            drawn[name] = jnp.asarray(np.full(leaf.shape, constant[name], leaf.dtype))
        else:
            rng = np.random.default_rng([*seed, zlib.crc32("/".join(here).encode())])
            bound = 1 / np.sqrt(fan_in)
            # cast by NumPy: JAX compiles a program for every shape
            drawn[name] = jnp.asarray(rng.uniform(-bound, bound, leaf.shape).astype(leaf.dtype))
    return drawn
