"""Training on clips: space-time super-resolution goes through the same run as frame interpolation."""

import dataclasses
from dataclasses import replace

import jax
import numpy as np
import pytest

import vfijax
from datasets import SyntheticSource, as_clip_batch
from datasets.opening import Choice, open_sources
from train import loop
from train.compress import validation_scores
from train.config import DataConfig, EvalConfig, LogConfig, OptimConfig, TrainConfig, TrainError, check
from train.data import Data
from train.loop import run
from train.report import read_metrics
from train.state import initial_state
from train.step import Objective, loss
from train.tasks import CLIP, PAIR, task_of
from vfijax.losses import LossWeights
from vfijax.media import MediaError, read_image, write_image
from vfijax.media.sheet import CAPTION_HEIGHT
from vfijax.models import narrow

CONFIG = TrainConfig(
    net=narrow("zooming_slowmo", 4, groups=2, blocks=1, ablation="a"),
    steps=3,
    losses=LossWeights(charbonnier=0.0, charbonnier_sum=1.0),
    data=DataConfig(crop=32, batch=4, augment="zooming_slowmo", threads=0),
    optim=OptimConfig(name="adam", lr=1e-3, b2=0.99, ema=0.5),
    eval=EvalConfig(every=3, limit=1, crop=32),
    log=LogConfig(every=1, checkpoint_every=2, pictures=1),
)
SCORES = ["psnr", "psnr_interpolated", "psnr_original"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that went from the first step to the last: its directory and its last state."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, run(CONFIG, out).state


@pytest.fixture(scope="module")
def batch():
    clips = np.stack([SyntheticSource(32, frames=7)[i] for i in range(2)])
    return as_clip_batch(clips)


def test_the_task_follows_from_the_network():
    assert task_of(CONFIG.net) is CLIP and task_of(vfijax.MODELS["cdfi"]) is PAIR


@pytest.mark.slow
def test_a_run_scores_interpolated_and_original_frames_apart_beside_bicubic_and_blend(finished):
    *steps, row = read_metrics(finished[0])
    for name in SCORES:
        assert 5 < row[name] < 60 and 5 < row[f"blend_{name}"] < 60
    for kind in ("", "blend_"):  # of seven frames three are interpolated
        parts = 3 * row[f"{kind}psnr_interpolated"] + 4 * row[f"{kind}psnr_original"]
        assert row[f"{kind}psnr"] == pytest.approx(parts / 7, rel=1e-5)
    assert all(step["charbonnier_sum"] == pytest.approx(step["loss"]) for step in steps)


def test_pictures_show_an_input_and_the_frame_between(finished):
    out, _ = finished
    assert read_image(out / "samples" / "step_0000003.png").shape == (CAPTION_HEIGHT + 32, 8 * 32, 3)
    assert read_image(out / "curve.png").shape == (4 * 420, 800, 3)  # three scores and the loss


def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(finished, tmp_path):
    for steps in (1, 3):
        state = run(replace(CONFIG, steps=steps), tmp_path / "run", resume=steps > 1).state
    for leaf, same in zip(jax.tree.leaves(state), jax.tree.leaves(finished[1]), strict=True):
        np.testing.assert_array_equal(leaf, same)


def test_the_loss_is_the_charbonnier_distance_summed_over_all_frames(batch):
    params = initial_state(CONFIG).params
    total, _ = loss(params, batch, Objective.of(CONFIG), {})
    difference = vfijax.zoom(params, batch["inputs"] / np.float32(255)) - batch["targets"] / 255
    assert float(total) == pytest.approx(float(np.sqrt(np.square(difference) + 1e-6).sum()), rel=1e-4)


@pytest.mark.slow
def test_on_two_devices_in_parts_the_summed_loss_and_its_gradient_are_those_of_the_whole(finished, tmp_path):
    optim = replace(CONFIG.optim, accumulate=2)
    run(replace(CONFIG, steps=1, devices=2, optim=optim), tmp_path / "run")
    whole, parts = (read_metrics(out)[0] for out in (finished[0], tmp_path / "run"))
    for name in ("loss", "charbonnier_sum", "grad_norm"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-4)


def test_the_flipped_prediction_is_that_of_the_clip_backwards(batch):
    params = initial_state(CONFIG).params
    options = {"flip": True, "reference_grads": False, "precision": "float32"}
    predicted = CLIP.predict(params, batch, **options)
    # This network treats both directions alike but for the 1x1 convolution between neighbours.
    backwards = CLIP.predict(params, {name: a[:, ::-1] for name, a in batch.items()}, **options)
    frames = backwards.frames.reshape(2, 7, 32, 32, 3)[:, ::-1].reshape(-1, 32, 32, 3)
    np.testing.assert_allclose(predicted.aux["flipped"], frames, atol=1e-5)


def test_a_few_fixed_clips_are_trained_and_scored_on():
    data = Data.of(replace(CONFIG, overfit=2))
    found = next(data.batches(0))
    seen = {clip.tobytes() for clip in found["targets"]}
    assert seen == {clip.tobytes() for clip in data.sequences} and "overfits" in data.note


def test_a_batch_that_breaks_a_run_is_kept_as_a_picture_of_all_frames(tmp_path, batch):
    loop.keep_batch(tmp_path, 7, batch)
    # four inputs and seven targets side by side, of two clips, each under its captions
    assert read_image(tmp_path / "batch_of_step_7.png").shape == (2 * (CAPTION_HEIGHT + 32), 11 * 32, 3)


def test_clips_are_cut_in_four_so_a_crop_that_is_no_multiple_is_refused():
    with pytest.raises(TrainError, match=r"--data\.crop is 30; zooming_slowmo needs a multiple of 4"):
        check(replace(CONFIG, data=replace(CONFIG.data, crop=30)))


# ------------------------------------------------------------------------------------------- data


def write_sequences(root, counts, size=40):
    for i, count in enumerate(counts):
        folder = root / "sequences" / "00001" / f"{i + 1:04d}"
        folder.mkdir(parents=True)
        for number in range(count):
            picture = np.full((size, size, 3), 20 * i + number, np.uint8)
            write_image(folder / f"im{number + 1}.png", picture)
    return root


def open_clips(source, **changes):
    return open_sources(Choice(str(source), crop=32, **changes), frames=7)


def test_folders_of_pictures_give_runs_of_seven_that_do_not_overlap(tmp_path):
    sources = open_clips(write_sequences(tmp_path, [7, 15, 6, 7]))
    ((train, _),) = sources.train
    runs = [train[i][:, 0, 0, 0].tolist() for i in range(len(train))]
    assert runs == [list(range(start, start + 7)) for start in (0, 20, 27)]
    assert sources.val[0][:, 0, 0, 0].tolist() == list(range(60, 67))


def test_released_septuplets_follow_their_lists(tmp_path):
    write_sequences(tmp_path, [7, 7, 7])
    for split, names in {"train": "00001/0003\n00001/0001\n\n", "test": "00001/0002\n"}.items():
        (tmp_path / f"sep_{split}list.txt").write_text(names)
    sources = open_clips(tmp_path)
    ((train, _),) = sources.train
    assert [len(train), len(sources.val), int(sources.val[0][0, 0, 0, 0])] == [2, 1, 20]


def test_sets_of_triplets_and_folders_without_clips_are_refused(tmp_path):
    with pytest.raises(MediaError, match="no folder with 7 images or more, and no video clips either"):
        open_clips(write_sequences(tmp_path, [3, 3]))


def test_a_synthetic_clip_moves_as_a_triplet_does():
    few, many = SyntheticSource(32)[4], SyntheticSource(32, frames=7)[4]
    np.testing.assert_array_equal(many[[0, 3, 6]], few)


def test_every_field_of_the_stored_config_is_there_again(finished):
    from train.rundir import stored_config

    assert dataclasses.asdict(stored_config(finished[0]).data) == dataclasses.asdict(CONFIG.data)
    assert stored_config(finished[0]).net == CONFIG.net


def test_compression_scores_clips_too(finished):
    scores = validation_scores(CONFIG, finished[1].best)
    assert scores["PSNR, dB"] == pytest.approx(read_metrics(finished[0])[-1]["psnr"], rel=1e-5)
    assert -1 < scores["SSIM"] < 1
