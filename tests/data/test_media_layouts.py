from pathlib import Path

import numpy as np
import pytest

from vfijax.files import natural_key
from vfijax.media import MediaError, find_clips, find_images, find_triplets, write_image


def plant(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, np.zeros((2, 2, 3), np.uint8))


def names_of(triplet) -> list[str]:
    return [triplet.first.name, triplet.middle.name, triplet.last.name]


@pytest.fixture
def vimeo(tmp_path):
    for name in ("00001/0001", "00001/0002", "00002/0010"):
        plant(tmp_path / "sequences" / name, "im1.png", "im2.png", "im3.png")
    return tmp_path


def test_vimeo_sequences_are_found_without_lists(vimeo):
    triplets = find_triplets(vimeo)
    assert [t.name for t in triplets] == ["00001/0001", "00001/0002", "00002/0010"]
    assert names_of(triplets[0]) == ["im1.png", "im2.png", "im3.png"]


def test_vimeo_lists_choose_the_split(vimeo):
    (vimeo / "tri_trainlist.txt").write_text("00002/0010\n00001/0001\n\n")
    (vimeo / "tri_testlist.txt").write_text("00001/0002\n")
    assert [t.name for t in find_triplets(vimeo, split="train")] == ["00001/0001", "00002/0010"]
    assert [t.name for t in find_triplets(vimeo, split="test")] == ["00001/0002"]
    assert len(find_triplets(vimeo)) == 3


def test_a_list_that_names_a_missing_sequence_is_refused(vimeo):
    (vimeo / "tri_testlist.txt").write_text("00009/0009\n")
    with pytest.raises(MediaError, match=r"tri_testlist\.txt lists 00009/0009"):
        find_triplets(vimeo, split="test")


FOLDERS = {
    "middlebury": ("frame10.png", "frame10i11.png", "frame11.png"),
    "ucf101": ("frame_00.webp", "frame_01_gt.webp", "frame_02.webp"),
    "numbers": ("9.png", "10.png", "11.png"),
}


@pytest.mark.parametrize("layout", FOLDERS)
def test_folders_of_three_images_are_triplets_in_order_of_time(tmp_path, layout):
    for scene in ("2", "10", "1"):
        plant(tmp_path / scene, *FOLDERS[layout])
    triplets = find_triplets(tmp_path)
    assert [t.name for t in triplets] == ["1", "2", "10"]
    assert all(names_of(t) == list(FOLDERS[layout]) for t in triplets)


def test_one_folder_of_three_images_is_a_triplet(tmp_path):
    plant(tmp_path, *FOLDERS["middlebury"])
    assert [names_of(t) for t in find_triplets(tmp_path)] == [list(FOLDERS["middlebury"])]


def test_hidden_files_and_other_files_do_not_count(tmp_path):
    plant(tmp_path / "a", *FOLDERS["numbers"])
    (tmp_path / "a" / "._10.png").write_bytes(b"")
    (tmp_path / "a" / "notes.txt").write_text("")
    plant(tmp_path / "b", "1.png", "2.png", "3.png", "4.png")
    assert [t.name for t in find_triplets(tmp_path)] == ["a"]


def test_a_folder_without_triplets_says_what_is_understood(tmp_path):
    plant(tmp_path, "a.png", "b.png")
    with pytest.raises(
        MediaError, match=r"no triplets found\. Understood are .*Vimeo-90K.*Middlebury.*UCF101"
    ):
        find_triplets(tmp_path)


def test_an_unknown_split_is_refused(vimeo):
    with pytest.raises(MediaError, match="split is 'val'"):
        find_triplets(vimeo, split="val")


@pytest.mark.parametrize("find", [find_triplets, find_clips, find_images])
def test_missing_folders_and_files_in_their_place_are_named(tmp_path, find):
    with pytest.raises(MediaError, match="none: no such folder"):
        find(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(MediaError, match="file: is no folder"):
        find(tmp_path / "file")


def test_clips_are_found_at_any_depth_in_natural_order(tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("c10.mp4", "c2.MOV", "more/c1.mkv", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).write_bytes(b"")
    assert [p.name for p in find_clips(tmp_path)] == ["c2.MOV", "c10.mp4", "c1.mkv"]


def test_a_folder_without_clips_or_images_is_refused(tmp_path):
    with pytest.raises(MediaError, match=r"no video clips found \(looked for \.mp4"):
        find_clips(tmp_path)
    with pytest.raises(MediaError, match=r"no images found \(looked for \.png"):
        find_images(tmp_path)


def test_natural_order():
    names = ["f1.png", "f2.png", "f10.png", "f10i11.png", "f11.png", "g", "2/a9", "10/a1", "a", "1"]
    ordered = sorted((Path(n) for n in reversed(names)), key=natural_key)
    assert [p for p in ordered if p.stem.startswith("f")] == [Path(n) for n in names[:5]]
    assert ordered.index(Path("2/a9")) < ordered.index(Path("10/a1"))
