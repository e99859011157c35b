"""Networks that compare frames as people do: VGG features for losses, and the metric LPIPS.

The networks are those of torchvision and of the package `lpips`; weights come from the user's files
(`.pth` or `.npz` with torchvision's names), each name and shape checked.
"""

from vfijax.perceptual.lpips import BACKBONES, Lpips, load_lpips, lpips
from vfijax.perceptual.vgg import load_vgg, vgg_features
from vfijax.perceptual.weights import FILES, way_to_get

__all__ = [
    "BACKBONES",
    "FILES",
    "Lpips",
    "load_lpips",
    "load_vgg",
    "lpips",
    "vgg_features",
    "way_to_get",
]
