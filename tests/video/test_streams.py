"""`VideoReader` and `VideoWriter`: what is read, carried and written."""

import os
from dataclasses import replace
from fractions import Fraction as F

import av
import numpy as np
import pytest

from vfijax.media import CODECS, Color, Frame, MediaError, VideoInfo, VideoReader, VideoWriter, upright
from vfijax.media.color import BT601, BT709, FULL, LIMITED, default_matrix


def read(path):
    with VideoReader(path) as reader:
        return reader.info, list(reader)


def write(path, info, frames, **options):
    with VideoWriter(path, info, **options) as writer:
        for frame in frames:
            writer.write(frame)


def frames_of(images, rate=F(25)):
    return [Frame(image, i / rate, 1 / rate) for i, image in enumerate(images)]


def gradient(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) * 255 // (width + height)], -1).astype(
        np.uint8
    )


# Reading


@pytest.mark.parametrize("rate", [F(24000, 1001), F(25), F(30), F(60000, 1001)])
def test_times_and_rate_are_exact(make_clip, rate):
    info, frames = read(make_clip(rate=rate, frames=5))
    assert info.rate == rate
    assert [f.time for f in frames] == [i / rate for i in range(5)]
    assert [f.duration for f in frames] == [1 / rate] * 5
    assert info.frames == 5


def test_variable_times_are_exact(make_clip):
    times = [0, 1001, 1500, 4000, 4001]
    _, frames = read(make_clip(frames=5, times=times, time_base=F(1, 12000)))
    assert [f.time for f in frames] == [F(t, 12000) for t in times]


@pytest.mark.parametrize("range_", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT601, BT709, 9])
def test_colours_are_decoded_with_the_tagged_matrix_and_range(tmp_path, make_clip, matrix, range_):
    path = make_clip(matrix=matrix, range=range_, pixels="yuv444p", crf=0, frames=2)
    _, frames = read(path)
    expected = make_picture(0)
    assert np.abs(frames[0].image.astype(int) - expected).mean() < 1


def make_picture(index, height=48, width=64):
    y, x = np.mgrid[:height, :width] / 16
    channels = (np.sin(x + index / 3), np.sin(y + index / 4), np.cos((x + y) / 2 + index / 5))
    return (127.5 + 110 * np.stack(channels, -1)).round().astype(int)


@pytest.mark.parametrize(("height", "matrix"), [(480, BT601), (576, BT601), (720, BT709), (1080, BT709)])
def test_untagged_video_is_read_as_players_do(height, matrix):
    assert default_matrix(height) == matrix


def test_an_untagged_clip_gets_a_full_description(make_clip):
    info, _ = read(make_clip(tagged=False, frames=2))
    assert info.color == Color(BT601, LIMITED)


@pytest.mark.parametrize(("height", "matrix"), [(48, BT601), (720, BT709)])
def test_untagged_colours_are_decoded_with_the_assumed_matrix(make_clip, height, matrix):
    path = make_clip(tagged=False, height=height, matrix=matrix, pixels="yuv444p", crf=0, frames=1)
    _, frames = read(path)
    assert np.abs(frames[0].image.astype(int) - make_picture(0, height)).mean() < 1


def test_untagged_grey_is_read_over_the_full_range(make_clip):
    path = make_clip(name="a.mkv", codec="ffv1", pixels="gray", tagged=False, range=2, frames=1)
    _, frames = read(path)
    luma = make_picture(0) @ [0.299, 0.587, 0.114]
    assert np.abs(frames[0].image[..., 0] - luma).mean() < 1


def test_rgb_video_is_read_as_it_is(make_clip):
    info, frames = read(make_clip(name="a.mkv", codec="ffv1", pixels="bgr0", tagged=False, frames=1))
    assert np.array_equal(frames[0].image, make_picture(0))
    assert info.color == Color(BT601, LIMITED)


def test_grey_video_is_read_as_neutral_rgb(make_clip):
    _, frames = read(make_clip(pixels="gray", frames=2))
    image = frames[0].image
    assert image.shape == (48, 64, 3)
    assert np.ptp(image, axis=-1).max() <= 1
    assert image.std() > 10


@pytest.mark.parametrize("size", [(63, 47), (64, 47), (63, 48), (17, 33)])
def test_odd_sizes_are_read_and_written(make_clip, tmp_path, size):
    width, height = size
    info, frames = read(make_clip(width=width, height=height, pixels="yuv444p", frames=2))
    write(tmp_path / "out.mp4", replace(info, chroma="420"), frames)
    again, copies = read(tmp_path / "out.mp4")
    assert (again.width, again.height) == size
    assert copies[0].image.shape == (height, width, 3)
    assert np.abs(copies[0].image.astype(int) - frames[0].image).mean() < 3


# Damaged and unsuitable files


def truncated(path, share=0.6):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


CUT = {
    "mp4, index at the end": {"name": "a.mp4"},
    "mp4, index at the front": {"name": "a.mp4", "options": (("movflags", "faststart"),)},
    "mkv": {"name": "a.mkv"},
    "avi": {"name": "a.avi", "codec": "mpeg4"},
}


@pytest.mark.parametrize("case", CUT)
def test_a_truncated_file_gives_one_clear_error(make_clip, case):
    path = truncated(make_clip(frames=40, width=160, height=120, **CUT[case]))
    with pytest.raises(MediaError, match=r"a\.\w+: .*truncated"):
        read(path)


@pytest.mark.parametrize("case", CUT)
def test_whole_files_are_not_taken_for_truncated(make_clip, case):
    _, frames = read(make_clip(frames=40, width=160, height=120, **CUT[case]))
    assert len(frames) == 40


def test_garbage_is_no_video(tmp_path):
    path = tmp_path / "noise.mp4"
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(MediaError, match=r"noise\.mp4: cannot be read as video"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MediaError, match=r"none\.mp4: no such file"):
        read(tmp_path / "none.mp4")


@pytest.mark.parametrize("name", ["empty.mkv", "empty.mp4"])
def test_a_file_without_frames_is_refused(tmp_path, name):
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    with pytest.raises(MediaError, match=rf"{name}: has no video (frames|stream)"):
        read(path)


def test_a_file_with_sound_alone_is_refused(tmp_path):
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, 0, F(1, 48000)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(MediaError, match=r"sound\.mp4: has no video stream"):
        read(path)


def test_an_alpha_channel_is_refused_by_name(make_clip):
    path = make_clip(name="a.mov", codec="qtrle", pixels="argb", tagged=False)
    with pytest.raises(MediaError, match=r"a\.mov: has an alpha channel \(argb\)"):
        read(path)


def test_a_change_of_size_names_the_frame(make_clip, tmp_path):
    small = make_clip(name="small.ts", frames=3)
    large = make_clip(name="large.ts", frames=3, width=96, height=64)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    with pytest.raises(MediaError, match=r"joined\.ts: frame 3 is 96x64, the frames before it are 64x48"):
        read(joined)


# Writing


@pytest.mark.parametrize("suffix", CODECS)
@pytest.mark.parametrize("rate", [F(24000, 1001), F(25)])
def test_written_times_are_read_back(tmp_path, suffix, rate):
    frames = frames_of([gradient(48, 64)] * 5, rate)
    write(tmp_path / f"out{suffix}", VideoInfo(64, 48, rate), frames)
    info, copies = read(tmp_path / f"out{suffix}")
    assert info.rate == rate
    slack = F(1, 2000) if suffix in (".mkv", ".webm") else 0  # these hold milliseconds
    for frame, copy in zip(frames, copies, strict=True):
        assert abs(frame.time - copy.time) <= slack


@pytest.mark.parametrize("chroma", ["420", "422", "444"])
@pytest.mark.parametrize("range_", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT601, BT709])
def test_a_lossless_round_trip_keeps_colours(tmp_path, matrix, range_, chroma):
    color = Color(matrix, range_)
    image = make_picture(1).astype(np.uint8)
    info = VideoInfo(64, 48, F(25), color=color, chroma=chroma)
    write(tmp_path / "out.mp4", info, frames_of([image] * 2), crf=0)
    again, copies = read(tmp_path / "out.mp4")
    assert again.color == color
    assert again.chroma == chroma
    error = copies[0].image.astype(int) - image
    assert np.abs(error).mean() < 1
    assert np.abs(error.mean((0, 1))).max() < 1


@pytest.mark.parametrize("range_", [LIMITED, FULL])
@pytest.mark.parametrize("matrix", [BT601, BT709])
def test_neutral_grey_stays_neutral(tmp_path, matrix, range_):
    ramp = np.repeat(np.linspace(0, 255, 64).round().astype(np.uint8)[None, :, None], 48, 0).repeat(3, -1)
    write(
        tmp_path / "out.mp4", VideoInfo(64, 48, F(25), color=Color(matrix, range_)), frames_of([ramp]), crf=0
    )
    _, copies = read(tmp_path / "out.mp4")
    assert np.ptp(copies[0].image.astype(int), axis=-1).max() <= 1
    assert np.abs(copies[0].image.astype(int) - ramp).max() <= 1


CARRIED = [".mp4", ".mov", ".mkv", ".webm"]


@pytest.mark.parametrize("suffix", CARRIED)
@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotation_is_carried(make_clip, tmp_path, probe, suffix, rotation):
    info, frames = read(make_clip(rotation=rotation, frames=2))
    write(tmp_path / f"out{suffix}", info, frames)
    assert probe(tmp_path / f"out{suffix}").frame.rotation % 360 == rotation % 360


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_pixel_aspect_is_carried(make_clip, tmp_path, probe, suffix):
    info, frames = read(make_clip(pixel_aspect=F(16, 11), frames=2))
    assert info.pixel_aspect == F(16, 11)
    write(tmp_path / f"out{suffix}", info, frames)
    assert probe(tmp_path / f"out{suffix}").pixel_aspect == F(16, 11)


def test_pixels_that_are_not_square_are_refused_for_webm(tmp_path):
    info = VideoInfo(64, 48, F(25), pixel_aspect=F(16, 11))
    with pytest.raises(MediaError, match=r"the source's is 16/11; write \.mp4 or \.mkv"):
        VideoWriter(tmp_path / "out.webm", info)


def test_frames_too_wide_for_h264_are_refused(tmp_path):
    write(tmp_path / "out.mp4", VideoInfo(16384, 16, F(25)), [])
    with pytest.raises(MediaError, match=r"frames of 16386x16; H\.264 holds 16384 a side; write \.webm"):
        VideoWriter(tmp_path / "wide.mp4", VideoInfo(16386, 16, F(25)))
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_primaries_and_transfer_are_carried(tmp_path, probe):
    info = VideoInfo(64, 48, F(25), color=Color(9, LIMITED, primaries=9, transfer=16))
    write(tmp_path / "out.mp4", info, frames_of([gradient(48, 64)]))
    frame = probe(tmp_path / "out.mp4").frame
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (9, 1, 9, 16)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_upright_turns_as_the_frame_says(make_clip, probe, turns):
    path = make_clip(rotation=90 * turns, frames=1)
    info, frames = read(path)
    turned = np.rot90(frames[0].image, probe(path).frame.rotation // 90)  # both counter-clockwise
    assert np.array_equal(upright(frames[0].image, info.display_matrix), turned)


def test_nothing_appears_under_the_final_name_before_the_end(tmp_path):
    target = tmp_path / "out.mp4"
    with VideoWriter(target, VideoInfo(64, 48, F(25))) as writer:
        for frame in frames_of([gradient(48, 64)] * 3):
            writer.write(frame)
            assert not target.exists()
    assert os.listdir(tmp_path) == ["out.mp4"]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, MemoryError])
def test_a_failure_leaves_the_older_file_and_nothing_else(tmp_path, failure):
    target = tmp_path / "out.mp4"
    target.write_bytes(b"older")
    with pytest.raises(failure), VideoWriter(target, VideoInfo(64, 48, F(25))) as writer:
        writer.write(frames_of([gradient(48, 64)])[0])
        raise failure
    assert target.read_bytes() == b"older"
    assert os.listdir(tmp_path) == ["out.mp4"]


def test_names_with_colons_and_percent_signs_are_ordinary(tmp_path):
    target = tmp_path / "http:a%03d.mp4"
    write(target, VideoInfo(64, 48, F(25)), frames_of([gradient(48, 64)] * 2))
    assert len(read(target)[1]) == 2


def test_frames_of_another_size_are_refused(tmp_path):
    with pytest.raises(MediaError, match=r"frame is uint8 \[32, 32, 3\]; give uint8 \[48, 64, 3\]"):
        write(tmp_path / "out.mp4", VideoInfo(64, 48, F(25)), frames_of([gradient(32, 32)]))
    assert not os.listdir(tmp_path)


REFUSED = {
    "out.gif": (None, r"cannot write \.gif video; use \.mp4, "),
    "out.mp4": (99, r"crf is 99; libx264 takes 0 \(best\) to 51"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unusable_targets_are_refused(tmp_path, name):
    crf, message = REFUSED[name]
    with pytest.raises(MediaError, match=message):
        VideoWriter(tmp_path / name, VideoInfo(64, 48, F(25)), crf=crf)
    assert not os.listdir(tmp_path)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        VideoWriter(tmp_path / "none" / "out.mp4", VideoInfo(64, 48, F(25)))


def test_audio_that_the_container_cannot_hold_is_refused_before_any_work(make_clip, tmp_path):
    source = make_clip(audio="aac")
    with pytest.raises(MediaError, match=r"\.webm cannot hold aac audio; write \.mkv"):
        VideoWriter(tmp_path / "out.webm", VideoInfo(64, 48, F(25)), audio_from=source)
    assert os.listdir(tmp_path) == ["clip.mp4"]
