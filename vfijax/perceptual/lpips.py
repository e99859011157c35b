"""LPIPS, the learned perceptual image patch similarity (Zhang et al., 2018), version 0.1."""

import importlib.util
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vfijax.files import given_path
from vfijax.inputs import check_arrays, check_images, check_scale, extremes, known
from vfijax.perceptual.networks import features
from vfijax.perceptual.weights import PathLike, checked, load_features, read, way_to_get

# Standardisation of images in [-1, 1]; single precision, as the package `lpips` keeps them.
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)
SCALE = np.array([0.458, 0.448, 0.450], np.float32)
EPSILON = 1e-10  # added to the length of a feature vector


class Backbone(NamedTuple):
    """A feature network of LPIPS: entry of `NETWORKS`, layers compared, their channels, least image side."""

    network: str
    taps: tuple[int, ...]
    channels: tuple[int, ...]
    least: int


BACKBONES: dict[str, Backbone] = {
    "squeeze": Backbone(
        "squeezenet1_1", (1, 4, 7, 9, 10, 11, 12), (64, 128, 256, 384, 384, 512, 512), least=17
    ),
    "alex": Backbone("alexnet", (1, 4, 7, 9, 11), (64, 192, 384, 256, 256), least=31),
    "vgg": Backbone("vgg16", (3, 8, 15, 22, 29), (64, 128, 256, 512, 512), least=16),
}


@jax.tree_util.register_dataclass
@dataclass(frozen=True, repr=False)
class Lpips:
    """LPIPS ready to use; a pytree, so that its weights pass through `jax.jit` as an argument.

    Attributes:
      tree: {"backbone": parameters of the feature network, "heads": a weight per channel and layer}.
      net: the entry of `BACKBONES` that the tree belongs to.
      value_range: what images in [0, 1] become before the network: "11" stretches them to [-1, 1],
        which LPIPS was made for; "01" leaves them, as published evaluations of interpolation do.
    """

    tree: Any
    net: str = field(metadata={"static": True})
    value_range: str = field(default="11", metadata={"static": True})

    @property
    def label(self) -> str:
        """Network and range in words; scores of different labels do not compare."""
        return f"LPIPS {self.net} {'[0,1]' if self.value_range == '01' else '[-1,1]'}"

    def __repr__(self) -> str:
        return f"Lpips({self.label})"


def load_lpips(
    net: str, backbone: PathLike | None, heads: PathLike | None = None, value_range: str = "11"
) -> Lpips:
    """LPIPS with weights from files.

    Args:
      net: "squeeze", "alex" or "vgg".
      backbone: the classification weights of torchvision for SqueezeNet 1.1, AlexNet or VGG16, `.pth`
        or `.npz` with the same names; classifier entries may be left out.
      heads: the weights of the `lpips` package (`weights/v0.1/NET.pth`), or None to take the file of the
        installed package, which is not imported.
      value_range: see `Lpips`.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: an unknown net or range, no backbone or no heads, or files that do not hold the weights.
        All that is missing is named at once.
    """
    for name, value, choices in (("net", net, [*BACKBONES]), ("value_range", value_range, ["11", "01"])):
        if value not in choices:
            raise ValueError(f"perceptual: {name} is {value!r}; give one of {', '.join(choices)}")
    heads = _installed_heads(net) if heads is None else heads
    _check_files(net, backbone, heads)
    assert backbone is not None and heads is not None
    chosen = BACKBONES[net]
    wanted = {_head(i): (1, channels, 1, 1) for i, channels in enumerate(chosen.channels)}
    way = f"weights/v0.1/{net}.pth of the package lpips"
    found = checked(heads, wanted, read(heads, wanted), f"the heads of LPIPS {net}", way)
    tree = {
        "backbone": load_features(chosen.network, chosen.taps[-1], backbone),
        "heads": [jnp.asarray(found[name].ravel(), jnp.float32) for name in wanted],
    }
    return Lpips(tree, net, value_range)


def lpips(params: Lpips, prediction: jax.Array, target: jax.Array) -> jax.Array:
    """LPIPS of images [..., H, W, 3] in [0, 1], per image: 0 for equal images, more for worse ones.

    The features of both images are scaled to unit length per pixel; their squared difference is
    weighted per channel, averaged over pixels, and summed over layers. Equal to the package `lpips`
    0.1.4 with `LPIPS(net, version="0.1")`. Differentiable with respect to the images.

    Raises:
      TypeError: no `Lpips`, images that are no float arrays.
      ValueError: images of other or of different shapes, empty, or too small for the network; where values
        are known, a target of another scale.
    """
    if not isinstance(params, Lpips):
        raise TypeError(f"lpips: params is {type(params).__name__}; give what load_lpips returns")
    backbone = BACKBONES[params.net]
    _check(prediction, target, backbone.least)
    images = jnp.stack([jnp.asarray(prediction), jnp.asarray(target)]).reshape(-1, *target.shape[-3:])
    if params.value_range == "11":
        images = 2 * images - 1
    images = (images - SHIFT.astype(images.dtype)) / SCALE.astype(images.dtype)
    with jax.default_matmul_precision("highest"):
        layers = features(backbone.network, params.tree["backbone"], images, *backbone.taps)
    pairs = zip(layers, params.tree["heads"], strict=True)
    distances = [_distance(layer, head) for layer, head in pairs]
    return jnp.stack(distances).sum(axis=0).reshape(target.shape[:-3])


def _distance(layer: jax.Array, head: jax.Array) -> jax.Array:
    """[2 B, h, w, c], predictions before targets, and [c], to [B]."""
    # The floor is far below every length that matters, and keeps the gradient at zero features finite.
    length = jnp.sqrt(jnp.maximum(jnp.sum(layer**2, axis=-1, keepdims=True), 1e-30))
    prediction, target = jnp.split(layer / (length + EPSILON), 2)
    return jnp.mean((prediction - target) ** 2 @ head, axis=(1, 2))


def _head(layer: int) -> str:
    return f"lin{layer}.model.1.weight"


def _check_files(net: str, backbone: PathLike | None, heads: PathLike | None) -> None:
    """Raises one error that names every file that is not given or not there, and where to get it."""
    package = (
        "the heads of LPIPS are missing; install the package lpips (`pip install lpips`), whose file is then "
        f"used, or give its weights/v0.1/{net}.pth with --lpips-heads FILE"
    )
    network = f"--lpips {net} needs --lpips-backbone FILE: give {way_to_get(BACKBONES[net].network)}"
    absent = [text for file, text in ((backbone, network), (heads, package)) if file is None]
    given = [
        os.fspath(given_path(file, f"perceptual: the file for {net}"))
        for file in (backbone, heads)
        if file is not None
    ]
    nowhere = [f"no file {file}" for file in given if not os.path.isfile(file)]
    if absent or nowhere:
        kind = ValueError if absent else FileNotFoundError
        raise kind(f"perceptual: {'; '.join([*nowhere, *absent])}")


def _installed_heads(net: str) -> Path | None:
    """The file of the installed package, if it is; its location is looked up without importing it."""
    spec = importlib.util.find_spec("lpips")
    for place in (spec and spec.submodule_search_locations) or ():
        file = Path(place) / "weights" / "v0.1" / f"{net}.pth"
        if file.is_file():
            return file
    return None


def _check(prediction: Any, target: Any, least: int) -> None:
    check_arrays("lpips", prediction=prediction, target=target)
    if prediction.shape != target.shape or target.ndim < 3 or target.shape[-1] != 3:
        raise ValueError(
            f"lpips: prediction is {tuple(prediction.shape)} and target {tuple(target.shape)}; "
            "give both as [..., H, W, 3]"
        )
    check_images("lpips", prediction, target, "in [0, 1], e.g. uint8 / 255")
    if min(target.shape[-3:-1]) < least:
        raise ValueError(
            f"lpips: images of {target.shape[-3]}x{target.shape[-2]} are smaller than {least}x{least}, "
            "the least size of the network"
        )
    if known(target):  # predictions are scored whatever they are: a network may have diverged
        check_scale("lpips", "target", *extremes(target))
