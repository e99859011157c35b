"""Official parameter names of Zooming Slow-Mo for our parameter paths."""

import re

Path = tuple[str, ...]

_PLACES = {  # where a part begins in our tree, and in the official names
    ("bidirectional", "lstm"): "ConvBLSTM.forward_net.",
    ("bidirectional",): "ConvBLSTM.",
    ("deformable_lstm",): "DConvLSTM.",
    ("conv_lstm",): "ConvLSTM.",
    ("frames",): "",
}
_STATES = {"hidden": "pcd_h.", "cell": "pcd_c."}
_STACKS = {"features": "feature_extraction", "trunk": "recon_trunk"}
_LEAF = {"kernel": "weight", "bias": "bias"}
_SIDES = {"first": "1", "second": "2"}
_LAYERS = {
    "first": "conv_first",
    "fusion": "fusion",
    "gates": "cell_list.0.conv",
    "merge": "conv_1x1",
    "up1": "upconv1",
    "up2": "upconv2",
    "hr": "HRconv",
    "last": "conv_last",
}


def zooming(path: Path) -> str:
    """The name in a file of Zooming Slow-Mo.

    For example ("align", "first", "offset3_0", "kernel") is `pcd_align.L3_offset_conv1_1.weight`.
    """
    *layer, leaf = path
    place = next((p for p in _PLACES if tuple(layer[: len(p)]) == p), ())
    prefix, layer = _PLACES.get(place, ""), layer[len(place) :]
    if layer[0] in _STATES:
        prefix, layer = prefix + _STATES[layer[0]], layer[1:]
    return f"{prefix}{_layer(*layer)}.{_LEAF[leaf]}"


def _layer(part: str, *inner: str) -> str:
    if part in _STACKS:
        block, conv = (re.findall(r"\d+", name)[0] for name in inner)
        return f"{_STACKS[part]}.{block}.conv{int(conv) + 1}"
    if part == "pyramid":
        level, conv = re.findall(r"\d", inner[0])
        return f"fea_L{level}_conv{int(conv) + 1}"
    if part == "align":
        return f"pcd_align.{_aligning(*inner)}"
    return _LAYERS[part]


def _aligning(side: str, layer: str) -> str:
    match = re.fullmatch(r"(offset|fields|sample|merge)(\d)(?:_(\d))?", layer)
    assert match, layer
    kind, level, conv = match.groups()
    if kind == "offset":
        return f"L{level}_offset_conv{int(conv) + 1}_{_SIDES[side]}"
    if kind == "merge":
        return f"L{level}_fea_conv_{_SIDES[side]}"
    sampled = f"L{level}_dcnpack_{_SIDES[side]}"
    return sampled if kind == "sample" else f"{sampled}.conv_offset_mask"
