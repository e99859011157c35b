"""Official parameter names of the published PyTorch networks for our parameter paths."""

import re
from collections.abc import Callable

from vfijax.convert.names_zooming import zooming

Path = tuple[str, ...]

# Position inside an official block, which counts activations and resizes.
_POSITION = {"up": (1,), "head": (0, 2, 4, 7), "conv": (0, 2, 4), "deconv": (0, 2, 4)}
_LEAF = {"kernel": "weight", "bias": "bias", "slope": "weight"}


# ------------------------------------------------------------------------------------ the U-Nets

_BLOCKS = {"conv": "Conv", "deconv": "Deconv", "up": "Upsample"}
_ADACOF_HEADS = {
    "weight1": "Weight1",
    "offset_y1": "Alpha1",
    "offset_x1": "Beta1",
    "weight2": "Weight2",
    "offset_y2": "Alpha2",
    "offset_x2": "Beta2",
    "occlusion": "Occlusion",
    "blend": "Blend",
}
# The published "x" is the displacement along the rows.
_SEPARABLE = {"vertical": "Vertical{}", "horizontal": "Horizontal{}", "mask": "Mask{}"}
_SEPARABLE |= {"offset_y": "Offset{}x", "offset_x": "Offset{}y"}
_SEPARABLE_HEADS = {f"{ours}{i}": name.format(i) for ours, name in _SEPARABLE.items() for i in (1, 2)}
_SEPARABLE_HEADS |= {"bias": "Bias"}


def _unet(layer: str, prefix: str, heads: dict[str, str]) -> str:
    """For example conv1_0 is `moduleConv1.0`, and up5_0 `moduleUpsample5.1`."""
    block, index = layer.rsplit("_", 1)
    if block in heads:
        return f"{prefix}{heads[block]}.{_POSITION['head'][int(index)]}"
    match = re.fullmatch(r"(conv|deconv|up)(\d)", block)
    assert match, layer
    kind, level = match.groups()
    return f"{prefix}{_BLOCKS[kind]}{level}.{_POSITION[kind][int(index)]}"


# ------------------------------------------------------------------------------- AdaCoF and CDFI


def adacof_family(path: Path) -> str:
    """The name in a file of AdaCoF or CDFI.

    For example ("unet", "conv1_0", "kernel") is `get_kernel.moduleConv1.0.weight`.
    """
    part, layer, *inner, leaf = path
    name = _gridnet(layer, *inner) if part == "synthesis" else _PARTS[part](layer)
    return f"{name}.{_LEAF[leaf]}"


def _features(layer: str) -> str:
    return f"get_kernel.module1by1_{layer.removeprefix('level')}"


def _gridnet(block: str, layer: str) -> str:
    if layer == "skip":
        return f"context_synthesis.{block}.conv"
    kind, index = layer.split("_")
    first = 1 if block.startswith("up") else 0  # an upsampling block starts with its resize
    return f"context_synthesis.{block}.f.{first + 2 * int(index) + (kind == 'conv')}"


_PARTS = {
    "unet": lambda layer: _unet(layer, "get_kernel.module", _ADACOF_HEADS),
    "features": _features,
}


# ------------------------------------------------------------------------------- the SepConv family

_BRANCHES = {"grouped": ".conv3x3", "pointwise": ".conv1x1", "pointwise_grouped": ".conv1x1_"}


def sepconv(path: Path) -> str:
    """The name in a file of SepConv; ("unet", "vertical1_3", "bias") is `netVertical1.7.bias`."""
    _, layer, leaf = path
    return f"{_unet(layer, 'net', _SEPARABLE_HEADS)}.{_LEAF[leaf]}"


def dsepconv_family(path: Path) -> str:
    """The name in a file of DSepConv or EDSC.

    For example ("unet", "conv1_1", "grouped", "kernel") is `moduleConv1.2.conv3x3.weight`.
    """
    _, layer, *branch, leaf = path
    name = _unet(layer, "module", _SEPARABLE_HEADS)
    return f"{name}{''.join(_BRANCHES[b] for b in branch)}.{_LEAF[leaf]}"


_KTH_HEADS = {"horizontal2": 1, "vertical2": 2, "horizontal1": 3, "vertical1": 4}
_KTH_BLOCKS = {  # named after the channels that they give
    **{f"conv{i}": f"conv{2 ** (i + 4)}" for i in (1, 2, 3, 4, 5)},
    **{f"up{i}": f"upsamp{2 ** (i + 4)}" for i in (5, 4, 3, 2)},
    **{f"deconv{i}": f"upconv{2 ** (i + 4)}" for i in (4, 3, 2)},
    "deconv5": "conv512x512",
    **{head: f"upconv51_{i}" for head, i in _KTH_HEADS.items()},
}


def sepconv_kth(path: Path) -> str:
    """The name in a file of SepConv's replication; ("unet", "conv1_0", "bias") is `conv32.0.bias`."""
    _, layer, leaf = path
    block, index = layer.rsplit("_", 1)
    kind = "head" if block in _KTH_HEADS else block.rstrip("12345")
    return f"{_KTH_BLOCKS[block]}.{_POSITION[kind][int(index)]}.{_LEAF[leaf]}"


def adaconv(path: Path) -> str:
    """The name in a file of AdaConv; ("conv1_norm", "variance") is `conv1_bn.running_var`."""
    layer, leaf = path
    if not layer.endswith("_norm"):
        return f"{layer}.{_LEAF[leaf]}"
    entries = {"scale": "weight", "bias": "bias", "mean": "running_mean", "variance": "running_var"}
    return f"{layer.removesuffix('_norm')}_bn.{entries[leaf]}"


# architecture: from one of our paths to the official name
NAMES: dict[str, Callable[[Path], str]] = {
    "adacof": adacof_family,
    "cdfi": adacof_family,
    "sepconv": sepconv,
    "sepconv_kth": sepconv_kth,
    "adaconv": adaconv,
    "dsepconv": dsepconv_family,
    "edsc": dsepconv_family,
    "edsc_m": dsepconv_family,
    "zooming_slowmo": zooming,
}

# architecture: how the entries of older files begin, and how `NAMES` has them
OLDER = {"sepconv": ("module", "net")}
