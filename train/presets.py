"""The published training recipes, and a short one to try.

Every recipe says where it is from, what it costs, and where paper and code differ. Epochs are written
as steps here. Costs in days are estimates from the published counts, not measured.
"""

from dataclasses import replace

from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig, TrainConfig
from vfijax.losses import LossWeights
from vfijax.models import MODELS, ModelConfig

VIMEO = 51_312  # training triplets of Vimeo-90K as CDFI's code counts them (its list without the last line)
NO_NET = ModelConfig("")  # a recipe for networks that are not in `MODELS`; --model names another one


def _epochs(count: int, batch: int, items: int = VIMEO) -> int:
    return count * (items // batch)


_LOG = LogConfig(checkpoint_every=2000)
_EVAL = EvalConfig(every=2000)

# Ding, Liang, Zhu, Zharkov: CDFI, CVPR 2021. Batch 8, Adamax, 1e-3 halved every 20
# epochs, flips and reversal of time. Paper and code: 100 epochs in the paper, 99 in the code (its
# counter starts at one). Whole 256x448 frames there; squares of 128 here, so that a step of CDFI fits
# into 4 GB (15 GB with --data.crop 256). `cdfi_published` has the VGG term, which wants
# --perceptual.vgg16 FILE; `cdfi` leaves it out, so that it runs with nothing but packages. About a week
# on one recent GPU; the paper has 35.17 dB on the Vimeo-90K test set.
_CDFI = TrainConfig(
    net=MODELS["cdfi"],
    steps=_epochs(99, 8),
    losses=LossWeights(charbonnier=1.0, smoothness=0.01),
    data=DataConfig(crop=128, batch=8, augment="cdfi"),
    optim=OptimConfig(halve_every=_epochs(20, 8)),
    eval=_EVAL,
    log=_LOG,
)

# Lee, Kim, Chung, Pak, Ban, Lee: AdaCoF, CVPR 2020, and its code: batch 4, 50 epochs, random crops
# of 256. The code takes every triplet folder that it finds. About three days on one recent GPU; 34.35 dB
# on the Vimeo-90K test set.
_ADACOF = replace(
    _CDFI,
    net=MODELS["adacof"],
    steps=_epochs(50, 4),
    losses=LossWeights(charbonnier=1.0, smoothness=0.01, occlusion_smoothness=0.005),
    data=DataConfig(crop=256, batch=4, augment="adacof"),
    optim=OptimConfig(halve_every=_epochs(20, 4)),
)

# Niklaus, Mai, Liu: AdaConv, CVPR 2017. Recalled, no code was published: L1 and a gradient term of weight 1,
# Adamax at 1e-3. The paper trains on single pixels, each with its 79x79 patch; here the network runs over
# whole squares, with the data and the number of epochs of SepConv. Its normalisations keep the statistics
# that they start with (`layers.BatchNorm`). 0.14 T multiply-adds a square make about three days.
_ADACONV = replace(
    _CDFI,
    net=MODELS["adaconv"],
    steps=_epochs(20, 16, 250_000),
    losses=LossWeights(charbonnier=0.0, l1=1.0, gradient=1.0),
    data=DataConfig(crop=128, batch=16, augment="sepconv"),
    optim=OptimConfig(schedule="constant"),
)

# Niklaus, Mai, Liu: SepConv, ICCV 2017. Its training code was never published; as the replication
# tells it: 250 000 triplets of 150 pixels chosen by their motion (python -m datasets.patches), squares of
# 128, Adamax at 1e-3, batch 16. The number of epochs is not stated (20 here). About two days.
_SEPCONV_L1 = replace(
    _CDFI,
    net=MODELS["sepconv"],
    steps=_epochs(20, 16, 250_000),
    losses=LossWeights(charbonnier=0.0, l1=1.0),
    data=DataConfig(crop=128, batch=16, augment="sepconv"),
    optim=OptimConfig(schedule="constant"),
)

# The report "Frame Interpolation via AdaConv with PyTorch" (a SepConv in truth): Adam, batch 16, 1000
# epochs on the first 4096 triplets at 0.01, then 100 epochs on all at 0.001 with --init-from the first.
# Its counts of triplets contradict each other. A week in all, at its 20 minutes an epoch.
_REPORT_FIRST = replace(
    _SEPCONV_L1,
    steps=_epochs(1000, 16, 4096),
    data=DataConfig(crop=128, batch=16, augment="sepconv_report", limit=4096),
    optim=OptimConfig(name="adam", lr=0.01, schedule="constant"),
)
_REPORT_SECOND = replace(
    _REPORT_FIRST,
    steps=_epochs(100, 16),
    data=DataConfig(crop=128, batch=16, augment="sepconv_report"),
    optim=OptimConfig(name="adam", lr=0.001, schedule="constant"),
)

# The replication of SepConv on DAVIS: 9 952 patches of 2016, then 16 768 of 2017 with --init-from the
# 37th epoch. The text has a rate of 0.01, turns by 90 degrees both ways and random crops of the patches;
# the code 0.001, one way, and the centre. The code is taken. Its weights start orthogonal, which is --start
# orthogonal. It pads by 25 pixels when it interpolates, not when it trains, where that would make squares of
# 256 of those of 128. 10 and 16 hours in the report.
_REPLICATION = replace(
    _SEPCONV_L1,
    net=MODELS["sepconv_kth"].replace(padding="improved"),
    steps=_epochs(50, 16, 9952),
    data=DataConfig(crop=128, batch=16, augment="sepconv_replication"),
)
_REPLICATION_2017 = replace(_REPLICATION, steps=_epochs(50, 16, 16_768))

# Cheng, Chen: DSepConv, AAAI 2020, and EDSC. Of its training only a review is at hand: Charbonnier of the
# frame and of that from swapped inputs, and a gradient term; weights, epsilon, optimizer and schedule are
# not stated and are those of AdaCoF here. About three days on one recent GPU. edsc_m, which takes a time, is
# trained on the middle frame too, the only one that triplets have: its other times remain to be learnt.
_DSEPCONV = replace(
    _ADACOF,
    net=MODELS["dsepconv"],
    losses=LossWeights(charbonnier=0.0, charbonnier_flip=1.0, gradient=1.0),
    data=DataConfig(crop=128, batch=8, augment="sepconv"),
)

# Xiang, Tian, Zhang, Fu, Allebach, Xu: Zooming Slow-Mo, CVPR 2020, and its code: septuplets of
# Vimeo-90K, squares of 128 from 32, Adam, 4e-4 to 1e-7 by a cosine that starts anew every 150 000 steps,
# 600 000 in all. Batch 16 in the code, 24 in the paper; rotations in the paper, transposition in the code;
# the loss is summed in the code, not averaged. 73 G multiply-adds a clip make about five days at 10 TFLOP/s.
_ZOOMING = replace(
    _CDFI,
    net=MODELS["zooming_slowmo"],
    steps=600_000,
    losses=LossWeights(charbonnier=0.0, charbonnier_sum=1.0),
    data=DataConfig(crop=128, batch=16, augment="zooming_slowmo"),
    optim=OptimConfig(name="adam", lr=4e-4, b2=0.99, schedule="cosine", period=150_000, lr_end=1e-7),
)

# The motion of scenes that are drawn, with motion of up to 80 pixels and its truth; little weight on the
# frame. Ten minutes on a large GPU, with a dozen processes that draw.
_COARSE = TrainConfig(
    net=MODELS["coarse_motion"],
    steps=10_000,
    losses=LossWeights(charbonnier=0.0, motion=1.0),
    data=DataConfig(crop=256, batch=16, augment="zooming_slowmo", jitter=0.2, motion=80.0),
    optim=OptimConfig(name="adam", lr=1e-3, b2=0.99, schedule="cosine", warmup=200, ema=0.998),
    eval=EvalConfig(every=1000, limit=32, crop=256),
    log=LogConfig(checkpoint_every=1000),
)

# Weights of guesses, with the mean of PSNRs as the goal. Only `weights` learns; give the coarse network with
# --init-from. Ten minutes on a large GPU, with a dozen processes that find flow.
_GUIDED = replace(
    _COARSE,
    net=MODELS["guided"],
    losses=LossWeights(charbonnier=0.0, log_mse=1.0, laplacian=1.0),
    data=DataConfig(crop=192, batch=16, augment="zooming_slowmo", stride=3, synthetic=0.25, motion=40.0),
    optim=OptimConfig(name="adam", lr=1e-3, b2=0.99, schedule="cosine", warmup=100, ema=0.998),
)

# For a laptop's CPU: a few minutes of synthetic motion, after which the network beats the blend clearly
# where things move by a few pixels (28.4 against 25.3 dB on its validation triplets). Fine, noisy texture
# gains little.
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
# table 1) and the ablations of CDFI were trained with the recipe of CDFI. `sepconv_lf` is the loss of
# SepConv's second network; the paper squares the norm, the replication's code does not.
PRESETS: dict[str, TrainConfig] = {
    "adacof": _ADACOF,
    "adacof_plus": replace(_ADACOF, net=MODELS["adacof_plus"]),
    "compressed_adacof": replace(_CDFI, net=MODELS["compressed_adacof"]),
    "compressed_adacof_plus": replace(_CDFI, net=MODELS["compressed_adacof_plus"]),
    "cdfi": _CDFI,
    "cdfi_published": replace(_CDFI, losses=LossWeights(charbonnier=1.0, smoothness=0.01, vgg=0.005)),
    "cdfi_fp1x1": replace(_CDFI, net=MODELS["cdfi_fp1x1"]),
    "cdfi_fp": replace(_CDFI, net=MODELS["cdfi_fp"]),
    "adaconv": _ADACONV,
    "sepconv": _SEPCONV_L1,
    "sepconv_l1": _SEPCONV_L1,
    "sepconv_lf": replace(_SEPCONV_L1, losses=LossWeights(charbonnier=0.0, vgg19=1.0)),
    "sepconv_report_first": _REPORT_FIRST,
    "sepconv_report": _REPORT_SECOND,
    "sepconv_kth": _REPLICATION,
    "sepconv_replication": _REPLICATION,
    "sepconv_replication_2017": _REPLICATION_2017,
    "sepconv_replication_ssim": replace(_REPLICATION, losses=LossWeights(charbonnier=0.0, ssim=1.0)),
    "sepconv_replication_vgg": replace(_REPLICATION, losses=LossWeights(charbonnier=0.0, vgg19=1e-5)),
    "sepconv_replication_combined": replace(
        _REPLICATION, losses=LossWeights(charbonnier=0.0, l1=1.0, vgg19=1e-5)
    ),
    "dsepconv": _DSEPCONV,
    "edsc_s": replace(_DSEPCONV, net=MODELS["edsc_s"]),
    "edsc_m": replace(_DSEPCONV, net=MODELS["edsc_m"]),
    "zooming_slowmo": _ZOOMING,
    "coarse_motion": _COARSE,
    "guided": _GUIDED,
    "demo": _DEMO,
}
