"""Weights that others have published: where each file is, what it should be, and whose it is.

`PUBLISHED` is all that vfijax knows about them; `vfijax.weights.fetching` downloads and converts them. None
of the files comes with vfijax.
"""

from dataclasses import dataclass
from pathlib import Path

from vfijax.files import cache_folder

GITHUB = "https://raw.githubusercontent.com"
GITHUB_LFS = "https://media.githubusercontent.com/media"  # what files in Git LFS hold, under the same paths


@dataclass(frozen=True)
class Authors:
    """Where weights come from.

    Attributes:
      page: address of the official code, which says more about the files.
      paper: address of the paper.
      licence: terms of the code and the weights, in a few words.
    """

    page: str
    paper: str
    licence: str


@dataclass(frozen=True)
class Published:
    """One file of weights.

    Attributes:
      model: the entry of `vfijax.models.MODELS` that it belongs to, and for `vfijax convert`. `convert` sets
        what else the network needs, such as the rounding of offsets.
      parameters: of the network; 4 bytes of each make up the file.
      authors: whose it is.
      file: its name.
      address: where it is; empty if it must be downloaded by hand.
      blob: the hash that git gives its content, in hexadecimal; empty if none is known.
      note: what tells it from others of the same network.
    """

    model: str
    parameters: int
    authors: Authors
    file: str
    address: str = ""
    blob: str = ""
    note: str = ""

    @property
    def megabytes(self) -> float:
        """The size of the file, about."""
        return 4e-6 * self.parameters


_UNSTATED = "not stated"  # in the README
_ADACOF = Authors(
    "https://github.com/HyeongminLEE/AdaCoF-pytorch", "https://arxiv.org/abs/1907.10244", _UNSTATED
)
_CDFI = Authors("https://github.com/tding1/CDFI", "https://arxiv.org/abs/2103.10559", _UNSTATED)
_SEPCONV = Authors(
    "https://github.com/sniklaus/sepconv-slomo", "https://arxiv.org/abs/1708.01692", "academic purposes only"
)
_SEPCONV_KTH = Authors("https://github.com/martkartasev/sepconv", "https://arxiv.org/abs/1809.07759", "MIT")
_EDSC = Authors("https://github.com/Xianhang/EDSC-pytorch", "https://arxiv.org/abs/2006.08070", _UNSTATED)
_ZOOMING = Authors(
    "https://github.com/Mukosame/Zooming-Slow-Mo-CVPR-2020", "https://arxiv.org/abs/2002.11616", "GPL-3.0"
)
_IN_ADACOF = f"{GITHUB}/HyeongminLEE/AdaCoF-pytorch/6009ee99426397163d2f4eab11da56470a45c7ac/checkpoint"
_IN_CDFI = f"{GITHUB}/tding1/CDFI/537291c7adc78117e50a31628f143aee9263ce20/checkpoints"
_IN_ZOOMING = f"{GITHUB}/Mukosame/Zooming-Slow-Mo-CVPR-2020/a053e08bb0bb5509f634b523256718f502637667"


def _at(folder: str, path: str) -> dict[str, str]:
    return {"file": path.rpartition("/")[2], "address": f"{folder}/{path}"}


PUBLISHED: dict[str, Published] = {
    "adacof": Published(
        "adacof",
        21_843_427,
        _ADACOF,
        **_at(_IN_CDFI, "adacof_F_5_D_1.pth"),
        blob="cdcb7c2661683f14ebc70747d93faed15892e627",
        note="5x5 taps; CDFI's copy",
    ),
    "adacof_sparse": Published(
        "adacof",
        21_843_427,
        _CDFI,
        **_at(_IN_CDFI, "adacof_pruned_lr_1e-2_lam_1e-4_Np_10.pth"),
        blob="e351de2353bd5cc937298fa022740542f6eeb205",
        note="adacof after sparse training",
    ),
    "adacof_plus": Published(
        "adacof_plus",
        22_933_219,
        _ADACOF,
        **_at(_IN_ADACOF, "kernelsize_11/ckpt.pth"),
        blob="3bca055500ceec82ccf91bebaf319573dcf2202d",
        note="11x11 taps",
    ),
    "compressed_adacof": Published(
        "compressed_adacof",
        2_452_094,
        _CDFI,
        **_at(_IN_CDFI, "compressed_adacof_F_5_D_1.pth"),
        blob="14047246c214ec552b2413067f59f6e17c787c10",
        note="5x5 taps",
    ),
    "compressed_adacof_plus": Published(
        "compressed_adacof_plus",
        2_557_214,
        _CDFI,
        **_at(_IN_CDFI, "compressed_adacof_F_11_D_2.pth"),
        blob="1403e1d27053fd62e323d804bf30907376c6784e",
        note="11x11 taps",
    ),
    "cdfi": Published(
        "cdfi",
        4_976_718,
        _CDFI,
        **_at(_IN_CDFI, "CDFI_adacof.pth"),
        blob="1799ec7ab3f2a9f54c13b73d2743c4bb0458c72c",
        note="11x11 taps",
    ),
    "sepconv": Published(
        "sepconv",
        21_675_452,
        _SEPCONV,
        **_at("https://content.sniklaus.com/sepconv", "network-l1.pytorch"),
        note="L1, for scores",
    ),
    "sepconv_lf": Published(
        "sepconv",
        21_675_452,
        _SEPCONV,
        **_at("https://content.sniklaus.com/sepconv", "network-lf.pytorch"),
        note="LF, for looks",
    ),
    "sepconv_kth": Published(
        "sepconv_kth",
        21_602_256,
        _SEPCONV_KTH,
        **_at("https://people.kth.se/~carlora/sepconv", "pretrained.pth"),
        note="a replication",
    ),
    "edsc_s": Published("edsc_s", 8_945_189, _EDSC, "EDSC_s_l1.ckpt", note="L1, the middle frame"),
    "edsc_s_lf": Published("edsc_s", 8_945_189, _EDSC, "EDSC_s_lf.ckpt", note="LF, the middle frame"),
    "edsc_m": Published("edsc_m", 8_950_949, _EDSC, "EDSC_m.ckpt", note="any time"),
    "zooming_slowmo": Published(
        "zooming_slowmo",
        11_102_771,
        _ZOOMING,
        **_at(_IN_ZOOMING, "experiments/pretrained_models/xiang2020zooming.pth"),
        blob="96b6d2a9b0d54cb24ab698a871dc29277fcc7657",
        note="for `vfijax zoom`",
    ),
}

OTHER_NAMES = {"sepconv_l1": "sepconv", "edsc_s_l1": "edsc_s"}  # of entries above
FETCHABLE = tuple(name for name, published in PUBLISHED.items() if published.address)


def folder() -> Path:
    """Where checkpoints of fetched weights are, by their names."""
    return cache_folder() / "weights"


def fetched(name: str) -> Path | None:
    """The checkpoint of the published weights of that name, if they have been fetched."""
    name = OTHER_NAMES.get(name, name)
    if name not in FETCHABLE:
        return None
    try:
        place = folder() / name
    except ValueError:  # nowhere to keep anything
        return None
    return place if (place / "config.json").is_file() else None


def how_to_get(name: str) -> str:
    """What gives the published weights of that name, an entry of `PUBLISHED` or `OTHER_NAMES`."""
    name = OTHER_NAMES.get(name, name)
    published = PUBLISHED[name]
    if name in FETCHABLE:
        return f"`vfijax fetch {name}` gets its published weights ({published.megabytes:.0f} MB)"
    return (
        f"its weights, {published.file}, are on a drive that {published.authors.page} links: download them "
        f"there, then `vfijax convert {published.model} {published.file} CHECKPOINT`, and give its path"
    )
