"""Official parameter names of the published PyTorch networks for our parameter paths."""

import re

Path = tuple[str, ...]

_HEADS = {
    "weight1": "Weight1",
    "offset_y1": "Alpha1",
    "offset_x1": "Beta1",
    "weight2": "Weight2",
    "offset_y2": "Alpha2",
    "offset_x2": "Beta2",
    "occlusion": "Occlusion",
    "blend": "Blend",
}
_BLOCKS = {"conv": "Conv", "deconv": "Deconv", "up": "Upsample"}
# Position inside an official block, which counts activations and resizes.
_POSITION = {"up": (1,), "head": (0, 2, 4, 7), "conv": (0, 2, 4), "deconv": (0, 2, 4)}
_LEAF = {"kernel": "weight", "bias": "bias", "slope": "weight"}


def adacof_family(path: Path) -> str:
    """The name in a file of AdaCoF or CDFI.

    For example ("unet", "conv1_0", "kernel") is `get_kernel.moduleConv1.0.weight`.
    """
    part, layer, *inner, leaf = path
    name = _gridnet(layer, *inner) if part == "synthesis" else _PARTS[part](layer)
    return f"{name}.{_LEAF[leaf]}"


def _unet(layer: str) -> str:
    block, index = layer.rsplit("_", 1)
    if block in _HEADS:
        return f"get_kernel.module{_HEADS[block]}.{_POSITION['head'][int(index)]}"
    match = re.fullmatch(r"(conv|deconv|up)(\d)", block)
    assert match, layer
    kind, level = match.groups()
    return f"get_kernel.module{_BLOCKS[kind]}{level}.{_POSITION[kind][int(index)]}"


def _features(layer: str) -> str:
    return f"get_kernel.module1by1_{layer.removeprefix('level')}"


def _gridnet(block: str, layer: str) -> str:
    if layer == "skip":
        return f"context_synthesis.{block}.conv"
    kind, index = layer.split("_")
    first = 1 if block.startswith("up") else 0  # an upsampling block starts with its resize
    return f"context_synthesis.{block}.f.{first + 2 * int(index) + (kind == 'conv')}"


_PARTS = {"unet": _unet, "features": _features}

# architecture: from one of our paths to the official name
NAMES = {"adacof": adacof_family, "cdfi": adacof_family}
