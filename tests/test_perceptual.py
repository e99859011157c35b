"""VGG features and LPIPS against torchvision and the package `lpips`, with weights made from a seed."""

import importlib.util
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.data import coffee

import vfijax
from tests.golden.state import make_state, make_triplet
from vfijax.cli import main
from vfijax.media import read_image, write_image
from vfijax.metrics import psnr, ssim_gaussian
from vfijax.perceptual import BACKBONES, load_lpips, load_vgg, lpips, vgg_features
from vfijax.perceptual.networks import features
from vfijax.scoring import PROTOCOLS, find_set, score_triplets

GOLDEN = json.loads((Path(__file__).parent / "golden" / "perceptual.json").read_text())
SEED = GOLDEN["seed"]
NETS = tuple(GOLDEN["nets"])


def head_shapes(net):
    widths = BACKBONES[net].channels
    return [(f"lin{i}.model.1.weight", [1, width, 1, 1]) for i, width in enumerate(widths)]


def save(path, state):
    np.savez(path, **state)
    return path


@pytest.fixture(scope="module")
def backbones(tmp_path_factory):
    """Files of seeded weights under torchvision's names."""
    folder = tmp_path_factory.mktemp("backbones")
    shapes = {net: GOLDEN["nets"][net]["shapes"] for net in NETS}
    return {net: save(folder / f"{net}.npz", make_state(shapes[net], SEED)) for net in NETS}


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Files of seeded weights, none negative, under the names of the package `lpips`."""
    folder = tmp_path_factory.mktemp("heads")
    made = {net: make_state(head_shapes(net), SEED) for net in NETS}
    positive = {net: {name: np.abs(array) for name, array in made[net].items()} for net in NETS}
    return {net: save(folder / f"{net}.npz", positive[net]) for net in NETS}


@pytest.fixture(scope="module")
def squeeze(backbones, heads):
    return load_lpips("squeeze", backbones["squeeze"], heads["squeeze"])


@pytest.fixture(scope="module")
def pair():
    """First and middle frame of a triplet, [64, 96, 3]."""
    return make_triplet(*GOLDEN["size"], SEED)[:2]


score = jax.jit(lpips)  # compiled once per net, range and size; the tests share one size


def odd(frame):
    """The part of an image of which the package's scores are stored too."""
    return np.asarray(frame[:61, :83], np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("net", "value_range"), [("squeeze", "11"), ("alex", "01"), ("vgg", "11")])
def test_lpips_and_its_gradient_equal_those_of_the_package(float64, backbones, heads, pair, net, value_range):
    first, middle = (jnp.asarray(frame, jnp.float64) for frame in pair)
    params = load_lpips(net, backbones[net], heads[net], value_range)
    value, gradient = jax.jit(jax.value_and_grad(lpips, argnums=1))(params, first, middle)
    stored = GOLDEN["nets"][net][value_range]
    assert value.dtype == np.float64
    assert float(value) == pytest.approx(stored["value"], rel=1e-9)
    assert float(jnp.linalg.norm(gradient)) == pytest.approx(stored["gradient_norm"], rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("net", NETS)
def test_lpips_of_odd_sizes_equals_that_of_the_package_and_is_zero_for_equal_images(
    backbones, heads, pair, net
):
    first, middle = map(odd, pair)
    params = load_lpips(net, backbones[net], heads[net], "01")
    stored = GOLDEN["nets"][net]["01"]["value_61x83"]
    assert float(score(params, first, middle)) == pytest.approx(stored, rel=1e-5)
    assert float(score(params, first, first)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("depth", [16, 19])
def test_vgg_features_equal_those_of_torchvision(tmp_path, pair, depth):
    blocks = {16: (2, 2, 3, 3), 19: (2, 2, 4, 4)}[depth]  # convolutions before the layer in question
    shapes, place, channels = [], 0, 3
    for width, count in zip((64, 128, 256, 512), blocks, strict=True):
        for _ in range(count):
            name = f"features.{place}"
            shapes += [(f"{name}.weight", [width, channels, 3, 3]), (f"{name}.bias", [width])]
            place, channels = place + 2, width
        place += 1
    tree = load_vgg(save(tmp_path / "vgg.npz", make_state(shapes, SEED)), depth)
    found = np.asarray(vgg_features(tree, pair[0][None], depth))[0].astype(np.float64)
    stored = GOLDEN[f"vgg{depth}"]
    assert [found.shape[i] for i in (2, 0, 1)] == stored["shape"]
    np.testing.assert_allclose(found[3, 5, :8], stored["first"], atol=2e-5)
    assert found.mean() == pytest.approx(stored["mean"], rel=1e-5)
    assert np.linalg.norm(found) == pytest.approx(stored["norm"], rel=1e-5)


def test_the_gradient_is_finite_for_equal_images_and_where_all_features_are_zero(backbones, heads):
    image = coffee()[100:131, 100:131] / np.float32(255)
    params = load_lpips("alex", backbones["alex"], heads["alex"])
    mute = jax.tree.map(jnp.zeros_like, params)
    gradient = jax.jit(jax.grad(lpips, argnums=1))
    assert bool(jnp.isfinite(gradient(params, image, image)).all())
    assert not np.any(gradient(mute, image, 0 * image))


def test_more_noise_means_more_lpips_and_the_order_does_not_matter(squeeze):
    clean = odd(coffee()[100:, 100:] / np.float32(255))
    noise = np.random.default_rng(0).normal(0, 1, clean.shape).astype(np.float32)
    scores = [float(score(squeeze, clean + strength * noise, clean)) for strength in (0, 0.02, 0.1)]
    assert scores == sorted(scores) and scores[0] < 1e-12 < 1e-4 < scores[1]
    assert float(score(squeeze, clean, clean + 0.1 * noise)) == pytest.approx(scores[2], rel=1e-5)


def test_a_batch_has_one_lpips_per_image(squeeze):
    images = np.random.default_rng(0).uniform(0, 1, (2, 2, 61, 83, 3)).astype(np.float32)
    together = score(squeeze, images, images[::-1])
    assert together.shape == (2, 2)
    alone = float(score(squeeze, images[1, 0], images[0, 0]))
    assert float(together[1, 0]) == pytest.approx(alone, rel=1e-5)


@pytest.mark.parametrize("net", NETS)
def test_images_smaller_than_the_network_can_take_are_refused(backbones, heads, net):
    params, (network, taps, channels, least) = load_lpips(net, backbones[net], heads[net]), BACKBONES[net]
    image = jax.ShapeDtypeStruct((1, least, 40, 3), jnp.float32)
    layers = jax.eval_shape(lambda image: features(network, params.tree["backbone"], image, *taps), image)
    assert all(layer.shape[1] >= 1 for layer in layers)
    assert tuple(layer.shape[3] for layer in layers) == channels
    small = np.zeros((least - 1, 40, 3), np.float32)
    with pytest.raises(ValueError, match=f"{least - 1}x40 are smaller than {least}x{least}"):
        lpips(params, small, small)


def test_images_that_do_not_agree_are_refused(squeeze):
    with pytest.raises(ValueError, match=r"prediction is \(20, 20, 3\) and target \(20, 21, 3\)"):
        lpips(squeeze, np.zeros((20, 20, 3)), np.zeros((20, 21, 3)))


def without(state):
    del state["features.12.squeeze.bias"], state["features.0.weight"]


def misshapen(state):
    state["features.3.squeeze.weight"] = state["features.3.squeeze.weight"][:8]


def with_another(state):
    state["features.13.weight"] = np.zeros(3, np.float32)


def not_finite(state):
    state["features.0.bias"][7] = np.nan


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without, r"missing: features\.0\.weight, features\.12\.squeeze\.bias\. Give"),
        (misshapen, r"misshapen: features\.3\.squeeze\.weight is \(8, 64, 1, 1\), not \(16, 64, 1, 1\)"),
        (with_another, r"left over: features\.13\.weight"),
        (not_finite, r"NaN or infinite: features\.0\.bias"),
    ],
)
def test_a_backbone_that_does_not_fit_is_one_error_that_lists_what_is_wrong(
    tmp_path, backbones, heads, spoil, message
):
    state = dict(np.load(backbones["squeeze"]))
    spoil(state)
    with pytest.raises(ValueError, match=rf"does not hold the weights of squeezenet1_1: {message}") as caught:
        load_lpips("squeeze", save(tmp_path / "bad.npz", state), heads["squeeze"])
    assert "squeezenet1_1-b8a52dc0.pth" in str(caught.value)


def test_the_weights_of_another_network_are_refused(backbones, heads):
    with pytest.raises(ValueError, match=r"does not hold the weights of vgg19: missing: features\.16"):
        load_vgg(backbones["vgg"], 19)
    with pytest.raises(ValueError, match="does not hold the heads of LPIPS alex: misshapen: lin1"):
        load_lpips("alex", backbones["alex"], heads["vgg"])


def test_later_layers_and_the_classifier_may_be_in_the_file_or_not(tmp_path, backbones):
    whole = dict(np.load(backbones["vgg"]))
    short = {name: array for name, array in whole.items() if int(name.split(".")[1]) <= 21}
    assert len(short) < len(whole)
    whole["classifier.0.weight"] = np.zeros((2, 2), np.float32)
    trees = [load_vgg(save(tmp_path / f"{i}.npz", state)) for i, state in enumerate((whole, short))]
    assert jax.tree.structure(trees[0]) == jax.tree.structure(trees[1])
    assert all(map(np.array_equal, *map(jax.tree.leaves, trees)))


def test_pth_files_are_read_as_npz_files_are(tmp_path, backbones, heads, squeeze):
    torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch, an optional package")
    paths = {"backbone": backbones["squeeze"], "heads": heads["squeeze"]}
    for kind, path in paths.items():
        state = {name: torch.tensor(array) for name, array in np.load(path).items()}
        torch.save(state, tmp_path / f"{kind}.pth")
    found = load_lpips("squeeze", tmp_path / "backbone.pth", tmp_path / "heads.pth")
    assert all(map(np.array_equal, *map(jax.tree.leaves, (found, squeeze))))


def test_heads_of_the_installed_package_are_found_without_importing_it(
    tmp_path, monkeypatch, backbones, heads, squeeze
):
    torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch, an optional package")
    folder = tmp_path / "lpips" / "weights" / "v0.1"
    folder.mkdir(parents=True)
    (tmp_path / "lpips" / "__init__.py").write_text("raise RuntimeError('imported')")
    state = {name: torch.tensor(array) for name, array in np.load(heads["squeeze"]).items()}
    torch.save(state, folder / "squeeze.pth")
    monkeypatch.syspath_prepend(tmp_path)
    found = load_lpips("squeeze", backbones["squeeze"])
    assert all(map(np.array_equal, *map(jax.tree.leaves, (found, squeeze))))


@pytest.fixture
def no_package(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "lpips" else find(name, *more)
    )


def test_missing_heads_are_one_error_that_says_how_to_get_them(no_package, backbones):
    with pytest.raises(ValueError, match=r"pip install lpips.*weights/v0\.1/squeeze\.pth with --lpips-heads"):
        load_lpips("squeeze", backbones["squeeze"])


@pytest.mark.parametrize("content", [b"no archive", b""])
@pytest.mark.parametrize("suffix", ["npz", "pth"])
def test_files_that_are_no_weights_are_refused(tmp_path, content, suffix):
    if suffix == "pth":
        pytest.importorskip("torch", reason="reading .pth files needs PyTorch, an optional package")
    path = tmp_path / f"weights.{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"perceptual: {path} is not readable as"):
        load_vgg(path)


def test_pickled_objects_in_npz_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is not readable as weights \(it holds pickled objects"):
        load_vgg(save(tmp_path / "weights.npz", {"features.0.weight": np.array([{}], object)}))


def test_unknown_names_and_missing_files_are_refused(tmp_path, backbones, heads):
    with pytest.raises(FileNotFoundError, match=r"no file .*nowhere\.npz"):
        load_vgg(tmp_path / "nowhere.npz")
    with pytest.raises(ValueError, match="depth is 11; give 16 or 19"):
        load_vgg(backbones["vgg"], 11)
    with pytest.raises(ValueError, match="net is 'resnet'; give one of squeeze, alex, vgg"):
        load_lpips("resnet", backbones["vgg"], heads["vgg"])
    with pytest.raises(ValueError, match="value_range is '0-1'; give one of 11, 01"):
        load_lpips("vgg", backbones["vgg"], heads["vgg"], "0-1")


# Scoring and `vfijax evaluate`.


@pytest.fixture
def directory(tmp_path):
    for number in range(2):
        folder = tmp_path / "set" / f"scene{number}"
        folder.mkdir(parents=True)
        for i, name in enumerate(("frame10.png", "frame10i11.png", "frame11.png")):
            left = 100 * number + (number + 1) * i
            write_image(folder / name, coffee()[100:132, left : left + 40])
    return tmp_path / "set"


def published(directory):
    """Prediction of the blend, rounded to 8 bits, and truth of every scene."""
    for triplet in find_set(directory):
        first, truth, last = (
            np.asarray(read_image(path), np.float64) for path in (triplet.first, triplet.middle, triplet.last)
        )
        rounded = np.rint((first + last) / 2) / 255
        yield rounded.astype(np.float32), (truth / 255).astype(np.float32)


def evaluate(*arguments):
    return main(["evaluate", "--model", "blend", *map(str, arguments)])


@pytest.mark.slow
@pytest.mark.parametrize(("value_range", "words"), [("11", "[-1,1]"), ("01", "[0,1]")])
def test_evaluate_scores_lpips_and_names_net_and_range(
    directory, backbones, heads, tmp_path, capsys, value_range, words
):
    files = ["--lpips-backbone", backbones["squeeze"], "--lpips-heads", heads["squeeze"]]
    ranged = [] if value_range == "11" else ["--lpips-range", value_range]
    out = tmp_path / "scores.json"
    data = f"mine={directory}"
    assert evaluate("--data", data, "--lpips", "squeeze", *files, *ranged, "--out", out) == 0
    params = load_lpips("squeeze", *files[1::2], value_range)
    expected = [float(lpips(params, *images)) for images in published(directory)]
    (result,) = json.loads(out.read_text())["results"]
    assert [row["lpips"] for row in result["rows"]] == pytest.approx(expected, rel=1e-4)
    assert result["mean"]["lpips"] == pytest.approx(np.mean(expected), rel=1e-4)
    assert result["protocol"]["name"] == "published"
    assert result["protocol"]["lpips"] == f"LPIPS squeeze {words}"
    printed = capsys.readouterr().out
    assert f"{np.mean(expected):.5f}"[:-1] in printed
    assert "squeeze" in printed and words in printed


def test_evaluate_scores_lpips_of_a_video_and_of_the_blend_beside_it(
    tmp_path, directory, backbones, heads, capsys
):
    frames = directory / "scene1"
    arguments = ["--lpips", "squeeze", "--lpips-backbone", backbones["squeeze"]]
    arguments += ["--lpips-heads", heads["squeeze"], "--out", tmp_path / "scores.json"]
    assert evaluate("--video", frames, *arguments) == 0
    (result,) = json.loads((tmp_path / "scores.json").read_text())["results"]
    assert result["mean"]["lpips"] == result["mean"]["blend_lpips"] > 0
    assert "LPIPS" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--lpips", "squeeze"],
            "needs --lpips-backbone FILE: give torchvision's squeezenet1_1-b8a52dc0.pth",
        ),
        (["--lpips-backbone", "FILE"], "--lpips-backbone belongs to --lpips NET"),
        (["--lpips-heads", "FILE"], "--lpips-heads belongs to --lpips NET"),
        (["--lpips", "squeeze", "--lpips-backbone", "FILE"], "pip install lpips"),
        (["--lpips", "squeeze"], "pip install lpips"),
        (["--lpips", "squeeze", "--lpips-backbone", "no.npz", "--lpips-heads", "HEADS"], "no file no.npz"),
        (
            ["--lpips", "squeeze", "--lpips-backbone", "no.npz", "--lpips-heads", "none.npz"],
            "no file no.npz; no file none.npz",
        ),
        (
            ["--lpips", "squeeze", "--lpips-backbone", "no.npz"],
            "no file no.npz; the heads of LPIPS are missing",
        ),
    ],
    ids=[
        "backbone",
        "backbone alone",
        "heads alone",
        "heads",
        "heads too",
        "file",
        "files",
        "file and heads",
    ],
)
def test_missing_files_of_lpips_give_one_message_before_any_work(
    no_package, directory, backbones, heads, capsys, arguments, message
):
    places = {"FILE": backbones["squeeze"], "HEADS": heads["squeeze"]}
    assert evaluate("--data", f"mine={directory}", *(places.get(a, a) for a in arguments)) == 1
    captured = capsys.readouterr()
    assert message in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_frames_too_small_for_lpips_are_named(tmp_path, squeeze):
    folder = tmp_path / "set" / "tiny"
    folder.mkdir(parents=True)
    for name in ("1.png", "2.png", "3.png"):
        write_image(folder / name, np.zeros((16, 40, 3), np.uint8))
    with pytest.raises(ValueError, match="tiny: frames of 40x16 are too small to score; give 17x17"):
        score_triplets(vfijax.create("blend", 0), find_set(tmp_path / "set"), lpips=squeeze)


def test_target_max_is_psnr_with_the_greatest_true_value_as_peak(directory):
    report = score_triplets(vfijax.create("blend", 0), find_set(directory), protocol="target-max")
    for triplet, row in zip(find_set(directory), report.rows, strict=True):
        first, truth, last = (
            read_image(path) / np.float32(255) for path in (triplet.first, triplet.middle, triplet.last)
        )
        raw, peak = (first + last) / 2, truth.max()
        assert peak < 1
        assert row.scores["psnr"] == pytest.approx(float(psnr(raw, truth, peak=peak)), rel=1e-5)
        assert row.scores["psnr"] < float(psnr(raw, truth))
        assert row.scores["ssim_gaussian"] == pytest.approx(float(ssim_gaussian(raw, truth)), rel=1e-4)
    assert set(report.means) == set(PROTOCOLS["target-max"].measures)


def test_target_max_refuses_a_black_frame(tmp_path):
    folder = tmp_path / "set" / "night"
    folder.mkdir(parents=True)
    for name in ("1.png", "2.png", "3.png"):
        write_image(folder / name, np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(ValueError, match="night: the true frame is black"):
        score_triplets(vfijax.create("blend", 0), find_set(tmp_path / "set"), protocol="target-max")
