"""Published training recipes, and a short one to try.

All published runs train on the 51 312 training triplets of Vimeo-90K with Adamax, learning rate
1e-3, halved every 20 epochs; epochs are written as steps here. The costs are estimates.
"""

from dataclasses import replace

from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig, TrainConfig
from vfijax.losses import LossWeights
from vfijax.models import MODELS

_VIMEO = 51_312  # triplets


def _epochs(count: int, batch: int) -> int:
    return count * (_VIMEO // batch)


# Ding, Liang, Zhu, Zharkov: CDFI, CVPR 2021, and its code: batch 8, 99 epochs (the counter starts at
# one), whole 256x448 frames; squares of 128 here, so that a step of CDFI fits into 4 GB (15 GB with
# --data.crop 256). The code adds 0.005 times a VGG feature distance, which is not a term here yet.
# About a week on one recent GPU; 35.17 dB on the Vimeo-90K test set with whole frames and VGG term.
_CDFI = TrainConfig(
    net=MODELS["cdfi"],
    steps=_epochs(99, 8),
    losses=LossWeights(charbonnier=1.0, smoothness=0.01),
    data=DataConfig(crop=128, batch=8),
    optim=OptimConfig(halve_every=_epochs(20, 8)),
    eval=EvalConfig(every=2000),
    log=LogConfig(checkpoint_every=2000),
)

# Lee, Kim, Chung, Pak, Ban, Lee: AdaCoF, CVPR 2020, and its code: batch 4, 50 epochs, random crops
# of 256. About three days on one recent GPU; 34.35 dB on the Vimeo-90K test set.
_ADACOF = replace(
    _CDFI,
    net=MODELS["adacof"],
    steps=_epochs(50, 4),
    losses=LossWeights(charbonnier=1.0, smoothness=0.01, occlusion_smoothness=0.005),
    data=DataConfig(crop=256, batch=4),
    optim=OptimConfig(halve_every=_epochs(20, 4)),
)

# For a laptop's CPU: a few minutes of synthetic motion, after which the network is a little better
# than the blend (25.5 against 25.3 dB after 250 steps).
_DEMO = TrainConfig(
    net=MODELS["compressed_adacof"],
    steps=400,
    losses=LossWeights(charbonnier=1.0),
    data=DataConfig(crop=64, batch=4, motion=6.0),
    optim=OptimConfig(halve_every=300),
    eval=EvalConfig(every=100, limit=16, crop=128),
    log=LogConfig(checkpoint_every=100),
)

# One for every trainable model under its own name, and others. The compressed networks (CDFI paper,
# table 1) and the ablations of CDFI were trained with the recipe of CDFI.
PRESETS: dict[str, TrainConfig] = {
    "adacof": _ADACOF,
    "adacof_plus": replace(_ADACOF, net=MODELS["adacof_plus"]),
    "compressed_adacof": replace(_CDFI, net=MODELS["compressed_adacof"]),
    "compressed_adacof_plus": replace(_CDFI, net=MODELS["compressed_adacof_plus"]),
    "cdfi": _CDFI,
    "cdfi_fp1x1": replace(_CDFI, net=MODELS["cdfi_fp1x1"]),
    "cdfi_fp": replace(_CDFI, net=MODELS["cdfi_fp"]),
    "demo": _DEMO,
}
