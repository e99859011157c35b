"""Scores on a video: which frames are predicted, their numbers, and the comparison video."""

from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from skimage import data
from skimage.metrics import structural_similarity

import vfijax
from vfijax.media import Frame, MediaError, VideoInfo, VideoReader, VideoWriter, write_image
from vfijax.media.sheet import CAPTION_HEIGHT
from vfijax.scoring import score_video, video

RATE = Fraction(25)
HEIGHT, WIDTH = 48, 64


def moving_frames(count, motion=2):
    """A window that slides over a photograph."""
    photograph = data.coffee()
    return [photograph[80 : 80 + HEIGHT, 100 + motion * i : 100 + motion * i + WIDTH] for i in range(count)]


def write_clip(path, count, motion=2, **info):
    with VideoWriter(path, VideoInfo(WIDTH, HEIGHT, RATE, **info), crf=4) as writer:
        for i, image in enumerate(moving_frames(count, motion)):
            writer.write(Frame(np.ascontiguousarray(image), i / RATE, 1 / RATE))
    return path


def rounded_average(first, last):
    return (first + last + 1) // 2  # halves go up


def decoded(path):
    with VideoReader(path) as reader:
        return reader.info, list(reader)


@pytest.fixture
def blend():
    return vfijax.create("blend", 0)


@pytest.mark.parametrize(("count", "predicted"), [(3, [1]), (4, [1]), (5, [1, 3]), (10, [1, 3, 5, 7])])
def test_every_second_frame_between_two_others_is_predicted(tmp_path, blend, count, predicted):
    report = score_video(blend, write_clip(tmp_path / "clip.mp4", count))
    assert [row.about["frame"] for row in report.rows] == predicted
    assert [row.about["time"] for row in report.rows] == pytest.approx([i / 25 for i in predicted])


@pytest.mark.parametrize(
    ("every", "count", "predicted"), [(3, 9, [1, 4, 7]), (3, 8, [1, 4]), (5, 12, [1, 6]), (30, 3, [1])]
)
def test_triplets_can_lie_far_apart(tmp_path, blend, every, count, predicted):
    clip, seen = write_clip(tmp_path / "clip.mp4", count), []
    report = score_video(blend, clip, every=every, progress=lambda done, total: seen.append(total))
    assert [row.about["frame"] for row in report.rows] == predicted
    whole = {row.about["frame"]: row.scores for row in score_video(blend, clip).rows}
    assert all(row.scores == whole[row.about["frame"]] for row in report.rows if row.about["frame"] in whole)
    assert set(seen) <= {None, len(predicted)}


@pytest.mark.parametrize(
    ("distances", "compare", "message"),
    [
        ({"every": 1}, None, "every is 1; give 2 or more"),
        ({"every": 3}, "out.mp4", "none for a comparison video"),
        ({"every": 3, "factor": 4}, None, "every is 3; give 4 or more"),
        ({"factor": 1}, None, "factor is 1; give 2 or more"),
    ],
)
def test_distances_that_make_no_sense_are_refused(tmp_path, blend, distances, compare, message):
    clip = write_clip(tmp_path / "clip.mp4", 5)
    with pytest.raises(ValueError, match=message):
        score_video(blend, clip, **distances, compare=compare and tmp_path / compare)


@pytest.mark.parametrize(
    ("factor", "every", "count", "predicted"),
    [(4, None, 10, [1, 2, 3, 5, 6, 7]), (3, 3, 6, [1, 2]), (3, 5, 9, [1, 2, 6, 7])],
)
def test_frames_between_are_predicted_at_their_times(tmp_path, blend, factor, every, count, predicted):
    clip, seen = write_clip(tmp_path / "clip.mp4", count), []
    report = score_video(
        blend, clip, factor=factor, every=every, progress=lambda done, total: seen.append(total)
    )
    assert [row.about["frame"] for row in report.rows] == predicted
    assert set(seen) <= {None, len(predicted)}
    frames = [frame.image.astype(float) / 255 for frame in decoded(clip)[1]]
    for row in report.rows:
        i = row.about["frame"]
        start = i - i % (every or factor)
        t = round((i - start) / factor * 1024) / 1024
        blended = (1 - t) * frames[start] + t * frames[start + factor]
        assert row.scores["mean_absolute_error"] == pytest.approx(
            np.abs(blended - frames[i]).mean(), abs=2e-3
        )


def test_a_frame_is_scored_against_the_frame_that_was_dropped(tmp_path, blend):
    clip = write_clip(tmp_path / "clip.mp4", 7)
    frames = [frame.image for frame in decoded(clip)[1]]
    images = [frame.astype(np.float32) / 255 for frame in frames]
    for row in score_video(blend, clip).rows:
        i = row.about["frame"]
        levels = np.rint((frames[i - 1].astype(float) + frames[i + 1]) / 2)  # ties to even
        average = (levels / 255).astype(np.float32)
        error = average.astype(float) - images[i]
        assert row.scores["psnr"] == pytest.approx(-10 * np.log10((error**2).mean()), abs=1e-4)
        expected = structural_similarity(average, images[i], data_range=1, channel_axis=-1)
        assert row.scores["ssim"] == pytest.approx(float(expected), abs=1e-5)


def test_the_blend_is_scored_beside_the_model(tmp_path, blend):
    report = score_video(blend, write_clip(tmp_path / "clip.mp4", 5))
    for row in report.rows:
        assert row.scores["blend_psnr"] == row.scores["psnr"]
        assert row.scores["blend_ssim"] == row.scores["ssim"]


def test_the_upstream_protocol_gives_psnr_alone(tmp_path, blend):
    report = score_video(blend, write_clip(tmp_path / "clip.mp4", 3), protocol="upstream")
    assert set(report.means) == {"psnr", "blend_psnr"}


def test_a_folder_of_images_is_scored_like_a_video(tmp_path, blend):
    for i, image in enumerate(moving_frames(5)):
        write_image(tmp_path / f"{i}.png", image)
    assert [row.about["frame"] for row in score_video(blend, tmp_path).rows] == [1, 3]


@pytest.mark.parametrize("count", [5, 6])
def test_the_comparison_shows_held_input_truth_interpolated_and_error(tmp_path, blend, count, monkeypatch):
    monkeypatch.setattr(video, "VideoWriter", partial(VideoWriter, crf=0))
    clip = write_clip(tmp_path / "clip.mp4", count, motion=8, chroma="444")
    score_video(blend, clip, compare=tmp_path / "compare.mp4")
    source = [frame.image.astype(int) for frame in decoded(clip)[1]]
    info, frames = decoded(tmp_path / "compare.mp4")
    assert (info.width, info.height) == (2 * WIDTH, 2 * (HEIGHT + CAPTION_HEIGHT))
    assert info.rate == RATE
    assert [frame.time for frame in frames] == [i / RATE for i in range(5)]
    for i, frame in enumerate(frames):
        image = frame.image.astype(int)
        upper, lower = image[CAPTION_HEIGHT:][:HEIGHT], image[2 * CAPTION_HEIGHT + HEIGHT :]
        average = source[i] if i % 2 == 0 else rounded_average(source[i - 1], source[i + 1])
        last = max(1, i - 1 + i % 2)  # the frame predicted last, whose error is held
        error = (
            abs(rounded_average(source[last - 1], source[last + 1]) - source[last]) * 4 if i else 0 * average
        )
        panels = {
            "input": (upper[:, :WIDTH], source[i - i % 2]),
            "truth": (upper[:, WIDTH:], source[i]),
            "interpolated": (lower[:, :WIDTH], average),
            "error": (lower[:, WIDTH:], np.minimum(error, 255)),
        }
        for name, (found, expected) in panels.items():
            assert abs(found - expected).mean() < 2, (i, name)  # colour conversion


def test_a_rotated_video_is_compared_upright(tmp_path, blend):
    quarter_turn = (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    clip = write_clip(tmp_path / "clip.mp4", 3, display_matrix=quarter_turn, pixel_aspect=Fraction(4, 3))
    score_video(blend, clip, compare=tmp_path / "compare.mp4")
    info, _ = decoded(tmp_path / "compare.mp4")
    assert (info.width, info.height) == (2 * HEIGHT, 2 * (WIDTH + CAPTION_HEIGHT))
    assert info.display_matrix is None and info.pixel_aspect == Fraction(3, 4)


def test_a_long_video_is_decoded_only_a_few_frames_ahead(tmp_path, blend, monkeypatch):
    given, ahead = [], []

    class Reader:
        info = VideoInfo(16, 16, RATE)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def __iter__(self):
            for i in range(201):
                given.append(i)
                yield Frame(np.full((16, 16, 3), i, np.uint8), i / RATE)

    monkeypatch.setattr(video, "open_source", lambda path: Reader())
    report = score_video(blend, tmp_path, progress=lambda done, _: ahead.append(len(given) - 2 * done))
    assert len(report.rows) == 100
    assert max(ahead) <= 8


@pytest.mark.parametrize("count", [1, 2])
def test_fewer_than_three_frames_are_refused_and_leave_no_comparison(tmp_path, blend, count):
    clip = write_clip(tmp_path / "clip.mp4", count)
    with pytest.raises(MediaError, match="fewer than three frames"):
        score_video(blend, clip, compare=tmp_path / "compare.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mp4"]


def test_the_comparison_never_replaces_the_video_that_is_scored(tmp_path, blend):
    clip = write_clip(tmp_path / "clip.mp4", 3)
    before = clip.read_bytes()
    with pytest.raises(MediaError, match="is the video to be scored"):
        score_video(blend, clip, compare=tmp_path / ".." / tmp_path.name / "clip.mp4")
    assert clip.read_bytes() == before


def test_a_truncated_video_is_an_error_and_leaves_no_comparison(tmp_path, blend):
    clip = write_clip(tmp_path / "clip.mkv", 40)
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(MediaError, match="truncated"):
        score_video(blend, clip, compare=tmp_path / "compare.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]
