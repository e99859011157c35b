"""Zooming Slow-Mo in PyTorch, for comparison; float32, NCHW, on the CPU.

Shapes and weights come from a `ModelParams`; the flow of data is written here again as published: pairs
of frames one after the other, the two directions of the LSTM one after the other, all frames of the
result in one batch.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as nnf

from benchmarks.peer_torch import DEFORMS, double, weights
from vfijax.models.zooming import TAPS, ZoomingConfig
from vfijax.params import ModelParams

Pyramid = Sequence[Tensor]
Path = tuple[str, ...]


class Network:
    """The whole network of any width, [B, N, 3, H, W] to [B, 2N-1, 3, 4H, 4W]; H and W multiples of 4."""

    def __init__(self, params: ModelParams, form: str = "gathers") -> None:
        config = params.config
        if not isinstance(config, ZoomingConfig) or (config.ablation, config.alignment) != ("e", "fused"):
            raise ValueError(f"{config.name}: no peer in PyTorch; there is one for the whole network")
        self.config, self.deform, self.weights = config, DEFORMS[form], weights(params)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> Tensor:
        batch, count = frames.shape[:2]
        x = _lrelu(self.conv(("first",), frames.flatten(0, 1)))
        for i in range(5):
            x = self.block(("features", f"block{i}"), x)
        levels = [level.unflatten(0, (batch, count)) for level in self.pyramid((), x)]
        steps = [levels[0][:, 0]]
        for i in range(count - 1):
            before, after = ([level[:, i + k] for level in levels] for k in (0, 1))
            steps += [self.fused((), before, after), levels[0][:, i + 1]]
        forwards, backwards = self.lstm(steps), self.lstm(steps[::-1])[::-1]
        joined = torch.cat([torch.stack(forwards, 1), torch.stack(backwards, 1)], dim=2).flatten(0, 1)
        x = self.conv(("bidirectional", "merge"), joined)
        for i in range(self.config.blocks):
            x = self.block(("frames", "trunk", f"block{i}"), x)
        for name in ("up1", "up2"):
            x = _lrelu(nnf.pixel_shuffle(self.conv(("frames", name), x), 2))
        x = self.conv(("frames", "last"), _lrelu(self.conv(("frames", "hr"), x)))
        return x.unflatten(0, (batch, -1))

    def conv(self, path: Path, *inputs: Tensor, stride: int = 1) -> Tensor:
        kernel, bias = self.weights[(*path, "kernel")], self.weights[(*path, "bias")]
        x = torch.cat(inputs, dim=1) if len(inputs) > 1 else inputs[0]
        return nnf.conv2d(x, kernel, bias, stride, padding=kernel.shape[2] // 2)

    def block(self, path: Path, x: Tensor) -> Tensor:
        return x + self.conv((*path, "conv_1"), torch.relu(self.conv((*path, "conv_0"), x)))

    def pyramid(self, path: Path, x: Tensor) -> list[Tensor]:
        levels = [x]
        for level in (2, 3):
            x = _lrelu(self.conv((*path, "pyramid", f"level{level}_0"), x, stride=2))
            x = _lrelu(self.conv((*path, "pyramid", f"level{level}_1"), x))
            levels.append(x)
        return levels

    def fused(self, path: Path, first: Pyramid, second: Pyramid) -> Tensor:
        sides = {"first": (first, second), "second": (second, first)}
        aligned = [self.aligned((*path, "align", side), *pair) for side, pair in sides.items()]
        return self.conv((*path, "fusion"), *aligned)

    def aligned(self, path: Path, images: Pyramid, others: Pyramid) -> Tensor:
        guide = _lrelu(self.conv((*path, "offset3_0"), images[2], others[2]))
        guide = _lrelu(self.conv((*path, "offset3_1"), guide))
        aligned = _lrelu(self.sample(path, 3, images[2], guide))
        for level in (2, 1):
            begun = _lrelu(self.conv((*path, f"offset{level}_0"), images[level - 1], others[level - 1]))
            guide = 2 * double(guide, align_corners=False)
            guide = _lrelu(self.conv((*path, f"offset{level}_1"), begun, guide))
            guide = _lrelu(self.conv((*path, f"offset{level}_2"), guide))
            sampled = self.sample(path, level, images[level - 1], guide)
            aligned = self.conv((*path, f"merge{level}"), sampled, double(aligned, align_corners=False))
            aligned = _lrelu(aligned) if level == 2 else aligned
        return aligned

    def sample(self, path: Path, level: int, image: Tensor, guide: Tensor) -> Tensor:
        taps = TAPS * self.config.groups
        fields = self.conv((*path, f"fields{level}"), guide)
        offset_y, offset_x = fields[:, : 2 * taps : 2], fields[:, 1 : 2 * taps : 2]
        mask = torch.sigmoid(fields[:, 2 * taps :]) if self.config.masks else torch.ones_like(offset_y)
        kernel, bias = (self.weights[(*path, f"sample{level}", leaf)] for leaf in ("kernel", "bias"))
        return self.deform(image, offset_y, offset_x, mask, kernel) + bias[:, None, None]

    def lstm(self, steps: list[Tensor]) -> list[Tensor]:
        path = ("bidirectional", "lstm")
        h = c = torch.zeros_like(steps[0])
        hidden = []
        for x in steps:
            h, c = (
                self.fused((*path, name), self.pyramid((*path, name), x), self.pyramid((*path, name), state))
                for name, state in (("hidden", h), ("cell", c))
            )
            i, f, o, g = self.conv((*path, "gates"), x, h).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
            hidden.append(h)
        return hidden


def _lrelu(x: Tensor) -> Tensor:
    return nnf.leaky_relu(x, 0.1)
