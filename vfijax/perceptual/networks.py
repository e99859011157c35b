"""The feature networks of torchvision that frames are compared by: VGG, AlexNet, SqueezeNet.

Only the part before the classifier. A layer's place in the table is its number in torchvision's
`features`, and its name in the parameters: `{"0": {"kernel", "bias"}, ...}`, kernels HWIO, images
NHWC. Sources: Simonyan and Zisserman (2015), Krizhevsky (2014), Iandola et al. (2016, version 1.1).
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Layer = Callable[[jax.Array, str], jax.Array]


def conv(features: int, size: int = 3, stride: int = 1, pad: int = 1) -> Layer:
    """A convolution with bias and zero padding."""
    shape, strides, padding = (size, size), (stride, stride), ((pad, pad), (pad, pad))
    return lambda x, name: nn.Conv(features, shape, strides, padding, name=name)(x)


def relu(x: jax.Array, name: str) -> jax.Array:
    """The positive part; a layer of its own, so that it has a number."""
    return nn.relu(x)


def pool(size: int, *, ceil: bool = False) -> Layer:
    """Greatest value of windows two apart; `ceil` keeps a last window that reaches over the edge."""

    def layer(x: jax.Array, name: str) -> jax.Array:
        beyond = [(0, (n - size) % 2 if ceil else 0) for n in x.shape[1:3]]
        return nn.max_pool(x, (size, size), (2, 2), beyond)

    return layer


class Fire(nn.Module):
    """SqueezeNet's block: a 1x1 convolution to few channels, then 1x1 and 3x3 beside each other."""

    squeeze: int
    expand: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.relu(nn.Conv(self.squeeze, (1, 1), name="squeeze")(x))
        narrow = nn.Conv(self.expand, (1, 1), name="expand1x1")(x)
        wide = nn.Conv(self.expand, (3, 3), padding=((1, 1), (1, 1)), name="expand3x3")(x)
        return nn.relu(jnp.concatenate([narrow, wide], axis=-1))


def fire(squeeze: int, expand: int) -> Layer:
    """`Fire` as a layer: to `squeeze` channels, then to twice `expand`."""
    return lambda x, name: Fire(squeeze, expand, name=name)(x)


def vgg(*depths: int) -> tuple[Layer, ...]:
    """Blocks of so many 3x3 convolutions, each followed by ReLU, with a pool after every block."""
    blocks = zip(depths, (64, 128, 256, 512, 512), strict=True)
    return tuple(layer for n, width in blocks for layer in [*(conv(width), relu) * n, pool(2)])


NETWORKS: dict[str, tuple[Layer, ...]] = {
    "vgg16": vgg(2, 2, 3, 3, 3),
    "vgg19": vgg(2, 2, 4, 4, 4),
    "alexnet": (
        *(conv(64, 11, stride=4, pad=2), relu, pool(3)),
        *(conv(192, 5, pad=2), relu, pool(3)),
        *(conv(384), relu, conv(256), relu, conv(256), relu, pool(3)),
    ),
    "squeezenet1_1": (
        *(conv(64, stride=2, pad=0), relu, pool(3, ceil=True)),
        *(fire(16, 64), fire(16, 64), pool(3, ceil=True)),
        *(fire(32, 128), fire(32, 128), pool(3, ceil=True)),
        *(fire(48, 192), fire(48, 192), fire(64, 256), fire(64, 256)),
    ),
}


class Features(nn.Module):
    """The outputs of some layers of a network.

    Attributes:
      net: the entry of `NETWORKS`.
      taps: places of the layers, ascending; the network ends at the last one.
    """

    net: str
    taps: tuple[int, ...]

    @nn.compact
    def __call__(self, image: jax.Array) -> list[jax.Array]:
        """[B, H, W, 3] to one [B, h, w, c] per tap."""
        outputs, x = [], image
        for place, layer in enumerate(NETWORKS[self.net][: self.taps[-1] + 1]):
            x = layer(x, str(place))
            if place in self.taps:
                outputs.append(x)
        return outputs


def features(net: str, tree: Any, image: jax.Array, *taps: int) -> list[jax.Array]:
    """The outputs of layers of `net` with the parameters `tree`; no gradient flows to the parameters."""
    outputs: Any = Features(net, taps).apply({"params": jax.lax.stop_gradient(tree)}, image)
    return outputs


def shapes(net: str, last: int) -> Any:
    """The tree of parameters up to a layer, as ShapeDtypeStructs."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(Features(net, (last,)).init, jax.random.key(0), image)["params"]
