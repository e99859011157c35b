"""VGG features for perceptual losses."""

from typing import Any

import jax

from vfijax.inputs import check_values, floats
from vfijax.perceptual.networks import features
from vfijax.perceptual.weights import PathLike, load_features

# Depth: entry of NETWORKS and the layer whose output is compared.
LAYERS = {
    16: ("vgg16", 21),  # conv4_3 before its ReLU: CDFI and AdaCoF code
    19: ("vgg19", 26),  # relu4_4: replication of SepConv
}


def load_vgg(path: PathLike, depth: int = 16) -> Any:
    """The parameters of VGG16 or VGG19 up to the layer that the losses compare.

    Args:
      path: torchvision's `.pth`, or a `.npz` with the same names; later layers may be left out.
      depth: 16 or 19.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: another depth, or a file that does not hold the weights.
    """
    return load_features(*_layer(depth), path)


def _layer(depth: int) -> tuple[str, int]:
    if depth not in LAYERS:
        raise ValueError(f"perceptual: depth is {depth}; give 16 or 19")
    return LAYERS[depth]


def vgg_features(tree: Any, image: jax.Array, depth: int = 16) -> jax.Array:
    """[B, H, W, 3] in [0, 1], not normalised, to [B, H/8, W/8, 512]: conv4_3 of VGG16 before its ReLU,
    or relu4_4 of VGG19. No gradient flows to the tree.

    Raises:
      TypeError: an image that is no float array.
      ValueError: another shape, sides under 8, another depth; where values are known, another scale.
    """
    network, layer = _layer(depth)
    (image,) = floats("vgg_features", axes=4, image=image)
    if image.shape[-1] != 3 or min(image.shape[1:3]) < 8:
        raise ValueError(
            f"vgg_features: image has shape {image.shape}; [B, H, W, 3] is needed, sides of at least 8"
        )
    check_values("vgg_features", "image", image=image)
    return features(network, tree, image, layer)[0]
