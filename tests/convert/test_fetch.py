"""Published weights are downloaded, checked, converted and found by their names; or one line says why not."""

import hashlib
import http.server
import io
import json
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

import vfijax
from train import flags
from vfijax import download as downloads
from vfijax.checkpoint import CheckpointError, load_config
from vfijax.cli import COMMANDS, main
from vfijax.convert import CONVERTIBLE, from_torch, official_shapes
from vfijax.files import cache_folder
from vfijax.models import MODELS, narrow
from vfijax.weights.fetching import fetch, git_blob
from vfijax.weights.published import FETCHABLE, OTHER_NAMES, PUBLISHED, fetched
from vfijax.weights.resolve import resolve

torch = pytest.importorskip("torch", reason="reading .pth files needs PyTorch, an optional package")
GOLDEN = Path(__file__).parents[1] / "golden"
CDFI = "/tding1/CDFI/537291c7adc78117e50a31628f143aee9263ce20/checkpoints/CDFI_adacof.pth"
SEPCONV = "/sepconv/network-l1.pytorch"


class Server:
    """Files on 127.0.0.1.

    Attributes:
      files: path to content.
      requests: path and range of every request so far.
      cut: bytes after which the connection ends; None for none.
      ranges: whether parts are given.
      changed: whether the files have changed since anything was downloaded.
    """

    def __init__(self):
        self.files, self.requests = {}, []
        self.cut, self.ranges, self.changed = None, True, False
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, request):
        asked = request.headers.get("Range")
        self.requests.append((request.path, asked))
        if request.path not in self.files:
            return request.send_error(404)
        if self.changed and request.headers.get("If-Unmodified-Since"):
            return request.send_error(412)
        data, begin = self.files[request.path], 0
        if asked and self.ranges:
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if begin >= len(data):
                return request.send_error(416)
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(data) - begin))
        request.end_headers()
        request.wfile.write(data[begin : self.cut])

    def close(self):
        if self.thread.is_alive():
            self.server.shutdown()
            self.thread.join()
            self.server.server_close()


@pytest.fixture
def server(monkeypatch):
    found = Server()
    monkeypatch.setenv("VFIJAX_MIRROR", found.address)
    yield found
    found.close()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VFIJAX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def contents(model, seed=0):
    """A file of a published network, and its weights."""
    rng = np.random.default_rng(seed)
    shapes = official_shapes(MODELS[model])
    weights = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    file = io.BytesIO()
    tensors = {key: torch.from_numpy(array) for key, array in weights.items()}
    torch.save({"epoch": 3, "state_dict": tensors} if model == "cdfi" else tensors, file)
    return file.getvalue(), weights


def blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def small(monkeypatch):
    """The networks of the files are narrow ones, and that of CDFI has fewer arrays."""
    monkeypatch.setitem(MODELS, "cdfi", replace(narrow("adacof"), name="cdfi"))
    monkeypatch.setitem(MODELS, "sepconv", narrow("sepconv"))


@pytest.fixture
def cdfi(small, server, cache, monkeypatch):
    """What the official file of CDFI is to be; it is on the server."""
    data, weights = contents("cdfi")
    server.files[CDFI] = data
    monkeypatch.setitem(PUBLISHED, "cdfi", replace(PUBLISHED["cdfi"], blob=blob(data)))
    return weights


@pytest.fixture
def sepconv(small, server, cache):
    data, weights = contents("sepconv")
    server.files[SEPCONV] = data
    return weights


def left(cache):
    """Files of the cache beside checkpoints and locks."""
    return sorted(file.name for file in (cache / "downloads").iterdir() if file.suffix != ".lock")


def equal(params, weights, name):
    expected = from_torch(name, weights)
    assert params.config == expected.config
    jax.tree.map(np.testing.assert_array_equal, params.tree, expected.tree)


def refused(capsys, *arguments):
    """The single line with which a command ends."""
    assert main([str(a) for a in arguments]) == 1
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if "note:" not in line]
    assert out == "" and len(lines) == 1 and lines[0].startswith("vfijax: error: ")
    return lines[0]


# ------------------------------------------------------------------------------------------ the table


def test_the_table_fits_the_networks():
    networks = json.loads((GOLDEN / "networks.json").read_text())
    counts = {name: network["param_count"] for name, network in networks.items()}
    family = json.loads((GOLDEN / "sepconv_family.json").read_text())
    counts |= {name: network["parameters"] for name, network in family.items()}
    zooming = json.loads((GOLDEN / "zooming_slowmo.json").read_text())
    for name, published in PUBLISHED.items():
        assert published.model in CONVERTIBLE, name
        if published.model != "zooming_slowmo":
            assert published.parameters == counts[published.model], name
    assert str(PUBLISHED["zooming_slowmo"].parameters) in json.dumps(zooming).replace(",", "")
    assert set(OTHER_NAMES.values()) <= set(PUBLISHED) and not set(OTHER_NAMES) & set(PUBLISHED)


@pytest.mark.parametrize("name", FETCHABLE)
def test_addresses_are_secure_and_pinned_and_hashes_are_of_git(name):
    published = PUBLISHED[name]
    assert published.address.startswith("https://") and published.address.endswith(f"/{published.file}")
    if "githubusercontent" in published.address:
        assert re.search(r"/[0-9a-f]{40}/", published.address)
        assert re.fullmatch(r"[0-9a-f]{40}", published.blob)


def test_the_documents_say_of_every_file_where_it_is():
    rows = [
        line
        for line in (GOLDEN.parents[1] / "docs" / "models.md").read_text().splitlines()
        if line.startswith("|")
    ]
    for name, published in PUBLISHED.items():
        (row,) = (row for row in rows if f"`{published.file}`" in row)
        assert f"`{name}`" in row and published.authors.licence in row


def test_all_that_the_documents_say_can_be_fetched_is_in_the_table():
    assert {
        *("cdfi", "compressed_adacof", "compressed_adacof_plus", "adacof", "adacof_sparse", "adacof_plus"),
        *("zooming_slowmo", "sepconv", "sepconv_lf", "sepconv_kth"),
    } == set(FETCHABLE)


def test_the_hash_is_that_of_git(tmp_path):
    (tmp_path / "file").write_bytes(b"hello\n")
    assert git_blob(tmp_path / "file") == "ce013625030ba8dba906f756967f9e9ca394464a"


# ------------------------------------------------------------------------------------- the right file


def test_a_fetched_model_is_found_by_its_name_everywhere(cdfi, server, cache, capsys):
    with pytest.raises(CheckpointError, match="`vfijax fetch cdfi` gets its published weights"):
        vfijax.load("cdfi")
    assert main(["fetch", "cdfi"]) == 0
    out = capsys.readouterr().out
    assert f"cdfi is in {cache / 'weights' / 'cdfi'}" in out and "--model cdfi" in out
    assert server.requests == [(CDFI, None)]
    equal(vfijax.load("cdfi"), cdfi, "cdfi")
    equal(vfijax.load(Path("cdfi")), cdfi, "cdfi")
    equal(resolve("cdfi"), cdfi, "cdfi")
    assert load_config("cdfi").rounding == "trunc"
    assert flags.choose(None, None, "cdfi").net == load_config("cdfi")  # --net-from
    assert left(cache) == []  # the official file is not kept
    notes = json.loads((cache / "weights" / "cdfi" / "config.json").read_text())["notes"]
    assert notes == {"fetched_from": PUBLISHED["cdfi"].address, "git_blob": PUBLISHED["cdfi"].blob}


def test_what_is_there_is_not_downloaded_again_unless_asked(cdfi, server, cache):
    assert fetch("cdfi") == fetch("cdfi") == cache / "weights" / "cdfi"
    assert len(server.requests) == 1
    fetch("cdfi", overwrite=True)
    assert len(server.requests) == 2
    server.close()
    assert main(["fetch", "cdfi"]) == 0


def test_what_is_damaged_is_fetched_again(cdfi, server, cache, capsys):
    place = fetch("cdfi")
    (place / "tree" / "checksums.json").write_text('{"nothing": 1}')
    assert main(["fetch", "cdfi"]) == 0
    assert "is damaged, and is fetched again" in capsys.readouterr().err
    equal(vfijax.load("cdfi"), cdfi, "cdfi")


def test_a_checkpoint_of_the_same_name_goes_first(cdfi, server, cache, monkeypatch, tmp_path):
    fetch("cdfi")
    monkeypatch.chdir(tmp_path)
    Path("cdfi").mkdir()
    assert vfijax.load("cdfi").config.name == "cdfi"
    Path("cdfi").rmdir()
    vfijax.save("cdfi", vfijax.create("blend", 0))
    assert vfijax.load("cdfi").config.name == resolve("cdfi").config.name == "blend"


def test_the_mirror_may_be_given_in_python_and_what_comes_is_told(cdfi, server, monkeypatch):
    monkeypatch.delenv("VFIJAX_MIRROR")
    seen = []
    fetch("cdfi", mirror=f"{server.address}/", progress=lambda done, total: seen.append((done, total)))
    size = len(server.files[CDFI]) // 10**6
    assert seen and seen[-1] == (size, size)


def test_a_name_has_other_names(sepconv, capsys):
    assert main(["fetch", "sepconv_l1", "sepconv"]) == 0
    assert capsys.readouterr().out.count("sepconv is in") == 1
    equal(resolve("sepconv_l1"), sepconv, "sepconv")


# --------------------------------------------------------------------------------------- a wrong file


@pytest.mark.parametrize("sent", [b"<html>sign in</html>", b"", None])
def test_a_file_with_another_hash_is_refused_and_nothing_is_kept(cdfi, server, cache, capsys, sent):
    other, _ = contents("cdfi", seed=1)
    sent = other if sent is None else sent
    server.files[CDFI] = sent
    line = refused(capsys, "fetch", "cdfi")
    assert f"is not the published file ({len(sent):,} bytes; git blob {blob(sent)}, not " in line
    assert left(cache) == [] and fetched("cdfi") is None


def test_a_wrong_file_leaves_what_was_fetched_before(cdfi, server, cache, capsys):
    fetch("cdfi")
    server.files[CDFI] = b"other"
    refused(capsys, "fetch", "cdfi", "--overwrite")
    equal(vfijax.load("cdfi"), cdfi, "cdfi")


def test_without_a_published_hash_the_first_one_is_kept(sepconv, server, cache, capsys):
    assert main(["fetch", "sepconv"]) == 0
    assert left(cache) == ["sepconv.sha256"]
    assert main(["fetch", "sepconv", "--overwrite"]) == 0
    capsys.readouterr()
    server.files[SEPCONV], _ = contents("sepconv", seed=1)
    line = refused(capsys, "fetch", "sepconv", "--overwrite")
    assert "the first download had" in line and f"delete {cache / 'downloads' / 'sepconv.sha256'}" in line
    equal(vfijax.load("sepconv"), sepconv, "sepconv")


def test_without_a_published_hash_the_converter_decides(sepconv, server, cache, capsys):
    server.files[SEPCONV] = b"<html>moved</html>"
    assert "is not the published file (18 bytes; convert: " in refused(capsys, "fetch", "sepconv")
    assert left(cache) == []


# -------------------------------------------------------------------------------------------- Git LFS


LFS = f"/media{CDFI}"


def pointer(data):
    oid = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(data)}\n".encode()


@pytest.mark.parametrize("hash_of", ["content", "pointer"])
def test_a_pointer_of_git_lfs_is_followed(cdfi, server, cache, monkeypatch, hash_of):
    data = server.files[CDFI]
    server.files |= {CDFI: pointer(data), LFS: data}
    if hash_of == "pointer":
        monkeypatch.setitem(PUBLISHED, "cdfi", replace(PUBLISHED["cdfi"], blob=blob(pointer(data))))
    fetch("cdfi")
    assert [path for path, _ in server.requests] == [CDFI, LFS]
    equal(vfijax.load("cdfi"), cdfi, "cdfi")


@pytest.mark.parametrize("hash_of", ["content", "pointer"])
def test_what_a_pointer_leads_to_is_checked(cdfi, server, cache, monkeypatch, capsys, hash_of):
    data = server.files[CDFI]
    server.files |= {CDFI: pointer(data), LFS: data[:-1]}
    if hash_of == "pointer":
        monkeypatch.setitem(PUBLISHED, "cdfi", replace(PUBLISHED["cdfi"], blob=blob(pointer(data))))
    assert "its pointer in Git LFS says" in refused(capsys, "fetch", "cdfi")
    assert left(cache) == []


def test_a_pointer_to_another_file_is_refused(cdfi, server, cache, capsys):
    other, _ = contents("cdfi", seed=1)
    server.files |= {CDFI: pointer(other), LFS: other}
    assert f"git blob {blob(other)}, not" in refused(capsys, "fetch", "cdfi")


# --------------------------------------------------------------------------------------- cut off


def test_a_download_that_was_cut_off_goes_on(cdfi, server, cache, capsys):
    server.cut = 5000
    line = refused(capsys, "fetch", "cdfi")
    assert "was cut off after 0.0 of" in line and "the same command goes on from there" in line
    server.cut = 9000
    refused(capsys, "fetch", "cdfi")
    server.cut = None
    assert main(["fetch", "cdfi"]) == 0
    assert "goes on at 0.0 of" in capsys.readouterr().err
    assert server.requests == [(CDFI, None), (CDFI, "bytes=5000-"), (CDFI, "bytes=9000-")]
    equal(vfijax.load("cdfi"), cdfi, "cdfi")


def test_a_server_that_gives_no_parts_is_asked_for_all(cdfi, server, cache, capsys):
    server.ranges, server.cut = False, 5000
    refused(capsys, "fetch", "cdfi")
    server.cut = None
    fetch("cdfi")
    equal(vfijax.load("cdfi"), cdfi, "cdfi")


def test_a_file_that_has_changed_meanwhile_begins_anew(sepconv, server, cache, capsys):
    data, server.files[SEPCONV] = server.files[SEPCONV], b"an older one" * 1000
    server.cut = 5000
    refused(capsys, "fetch", "sepconv")
    server.files[SEPCONV], server.cut, server.changed = data, None, True
    fetch("sepconv")
    assert [asked for _, asked in server.requests] == [None, "bytes=5000-", None]
    equal(vfijax.load("sepconv"), sepconv, "sepconv")


def test_a_download_that_was_killed_at_its_end_is_complete(cdfi, server, cache, capsys):
    server.cut = 5000
    refused(capsys, "fetch", "cdfi")
    (begun,) = left(cache)
    (cache / "downloads" / begun).write_bytes(server.files[CDFI])
    server.cut = None
    fetch("cdfi")
    equal(vfijax.load("cdfi"), cdfi, "cdfi")


def test_a_file_that_was_downloaded_but_not_converted_is_not_downloaded_again(cdfi, server, cache):
    (cache / "downloads").mkdir(parents=True)
    (cache / "downloads" / "cdfi-CDFI_adacof.pth").write_bytes(server.files[CDFI])
    fetch("cdfi")
    assert server.requests == []


# ------------------------------------------------------------------------------- network, cache, names


def test_without_a_network_one_line_says_so_and_how_to_do_without(cdfi, server, cache, capsys):
    server.close()
    line = refused(capsys, "fetch", "cdfi")
    assert f"cannot reach {server.address.removeprefix('http://')} (" in line
    assert "`vfijax convert cdfi CDFI_adacof.pth CHECKPOINT`" in line
    assert left(cache) == []


def test_an_error_as_answer_is_told(cdfi, server, capsys):
    server.files.clear()
    assert f"{server.address}{CDFI} answered 404 Not Found" in refused(capsys, "fetch", "cdfi")


def test_one_that_cannot_be_fetched_does_not_keep_the_others(cdfi, server, capsys):
    assert main(["fetch", "sepconv", "cdfi", "guided"]) == 1
    out, err = capsys.readouterr()
    assert "cdfi is in" in out and "guided comes with vfijax" in out and err.count("error:") == 1


def test_all_are_tried(cdfi, server, capsys):
    assert main(["fetch", "--all"]) == 1
    assert capsys.readouterr().err.count("answered 404") == len(FETCHABLE) - 1
    assert [name for name in FETCHABLE if fetched(name)] == ["cdfi"]


def test_an_address_that_leads_away_from_https_is_refused(cdfi, cache, monkeypatch):
    class Response(io.BytesIO):
        url, status, headers = "http://elsewhere/file", 200, {}

    monkeypatch.setattr(downloads.urllib.request, "urlopen", lambda *args, **options: Response())
    with pytest.raises(downloads.DownloadError, match="leads to http://elsewhere/file, which is not secure"):
        fetch("cdfi", mirror="")


@pytest.mark.parametrize("mirror", ["file:///etc", "127.0.0.1:80", "https://"])
def test_a_mirror_that_is_no_address_is_refused(cdfi, cache, capsys, monkeypatch, mirror):
    monkeypatch.setenv("VFIJAX_MIRROR", mirror)
    assert f"VFIJAX_MIRROR is {mirror!r}; give an address such as https://HOST" in refused(
        capsys, "fetch", "cdfi"
    )


def test_a_cache_that_cannot_be_written_is_named_before_anything_is_downloaded(
    cdfi, server, capsys, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("VFIJAX_CACHE", str(tmp_path / "file" / "cache"))
    line = refused(capsys, "fetch", "cdfi")
    assert f"cannot write the cache {tmp_path / 'file' / 'cache'}: " in line
    assert "name another folder in VFIJAX_CACHE" in line
    assert server.requests == []


@pytest.mark.parametrize(
    ("platform", "variable", "given", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "/x", "/x/vfijax"),
        ("linux", "XDG_CACHE_HOME", "relative", "/home/me/.cache/vfijax"),
        ("linux", "XDG_CACHE_HOME", "", "/home/me/.cache/vfijax"),
        ("darwin", "XDG_CACHE_HOME", "/x", "/home/me/Library/Caches/vfijax"),
        ("linux", "VFIJAX_CACHE", "/c", "/c"),
        ("linux", "VFIJAX_CACHE", "~/c", "/home/me/c"),
        ("linux", "VFIJAX_CACHE", "", "/home/me/.cache/vfijax"),
    ],
)
def test_the_cache_is_where_the_platform_or_the_user_has_it(monkeypatch, platform, variable, given, expected):
    for name in ("VFIJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv(variable, given)
    assert cache_folder() == Path(expected)


def test_without_a_home_what_needs_none_goes_on_and_fetching_says_what_is_missing(monkeypatch, capsys):
    for name in ("VFIJAX_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    assert resolve("flow").config.name == "flow" and fetched("cdfi") is None
    assert "there is no home folder to keep files in; name a folder in VFIJAX_CACHE" in refused(
        capsys, "fetch", "cdfi"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give the names of weights (adacof, "),
        (["--all", "cdfi"], "or --all"),
        (["cdffi"], "no published weights are called 'cdffi'; did you mean 'cdfi'?"),
        (["cdfi", "nothing"], "no published weights are called 'nothing'"),
        (["edsc_m"], "on a drive that https://github.com/Xianhang/EDSC-pytorch links"),
        (["dsepconv"], "dsepconv has no published weights; `vfijax models` lists those that have"),
    ],
)
def test_names_are_checked_before_anything_is_downloaded(cdfi, server, capsys, arguments, message):
    assert message in refused(capsys, "fetch", *arguments)
    assert server.requests == []


def test_without_pytorch_nothing_is_downloaded(cdfi, server, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install -e '.[convert]'" in refused(capsys, "fetch", "cdfi")
    assert server.requests == []


class Trap:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_file_is_not_run(sepconv, server, cache, capsys, tmp_path):
    file = io.BytesIO()
    torch.save({"state_dict": {}, "extra": Trap(tmp_path / "sprung")}, file)
    server.files[SEPCONV] = file.getvalue()
    assert "is not the published file" in refused(capsys, "fetch", "sepconv")
    assert not (tmp_path / "sprung").exists()


# ---------------------------------------------------------------------------------------- at once


def test_of_two_at_once_one_downloads_and_the_other_waits(cdfi, server, cache):
    told, held = [], threading.Event()
    usual = server.answer

    def slow(request):
        held.wait(10)
        usual(request)

    def tell(line):
        told.append(line)
        held.set()

    server.answer = slow
    threads = [threading.Thread(target=fetch, args=("cdfi",), kwargs={"tell": tell}) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == ["cdfi: waiting for another process that fetches it"]
    assert len(server.requests) == 1
    equal(vfijax.load("cdfi"), cdfi, "cdfi")


PROCESS = """
import sys
from dataclasses import replace
from vfijax.models import MODELS, narrow
from vfijax.weights.published import PUBLISHED
from vfijax.cli import main
MODELS["cdfi"] = replace(narrow("adacof"), name="cdfi")
PUBLISHED["cdfi"] = replace(PUBLISHED["cdfi"], blob=sys.argv[1])
sys.exit(main(["fetch", "cdfi"]))
"""


@pytest.mark.slow
def test_two_processes_at_once_give_one_model(cdfi, server, cache):
    command = [sys.executable, "-c", PROCESS, PUBLISHED["cdfi"].blob]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert len(server.requests) == 1
    equal(vfijax.load("cdfi"), cdfi, "cdfi")


# ------------------------------------------------------------------------------------- names, lists


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cdfi", "it is not here yet; `vfijax fetch cdfi` gets its published weights (20 MB)"),
        ("sepconv_l1", "`vfijax fetch sepconv` gets"),
        ("edsc_s", "then `vfijax convert edsc_s EDSC_s_l1.ckpt CHECKPOINT`"),
        ("cdfii", "did you mean 'cdfi'?"),
        ("guidet", "did you mean 'guided'?"),
        ("dsepconv", "no weights of dsepconv come with vfijax"),
    ],
)
def test_a_model_that_is_not_here_says_how_to_get_it(cache, name, message):
    with pytest.raises(ValueError, match=f"--model {name}: ") as caught:
        resolve(name)
    assert message in str(caught.value)
    with pytest.raises(CheckpointError) as loaded:
        vfijax.load(name)
    if name in MODELS and name in PUBLISHED:
        assert message.removeprefix("it is not here yet; ") in str(loaded.value)


def test_models_without_weights_and_shipped_ones_have_names_for_load_too(cache):
    for name in ("flow", "guided", "blend"):
        assert vfijax.load(name).config == load_config(name) == MODELS[name]


def test_the_models_are_listed_by_where_their_weights_are(cdfi, capsys):
    def groups():
        assert main(["models"]) == 0
        found, title = {}, ""
        for line in capsys.readouterr().out.splitlines():
            name, *rest = line.split(maxsplit=1)
            title = title if line.startswith("  ") else line
            found.setdefault(title, {})
            if line.startswith("  "):
                found[title][name] = rest[0] if rest else ""
        return [(title, names) for title, names in found.items() if names]

    before = groups()
    assert {name for _, names in before for name in names} == {*MODELS, *PUBLISHED}
    to_fetch = dict(before)["to be fetched by `vfijax fetch NAME`:"]
    assert list(to_fetch) == list(FETCHABLE)
    for name, about in to_fetch.items():
        authors = PUBLISHED[name].authors
        for part in (f"{PUBLISHED[name].megabytes:.0f} MB", authors.licence, authors.paper, authors.page):
            assert part in about
    fetch("cdfi")
    after = dict(groups())
    (place,) = (title for title in after if title.startswith("fetched, in "))
    assert list(after[place]) == ["cdfi"]
    assert "cdfi" not in after["to be fetched by `vfijax fetch NAME`:"]


def test_the_commands_are_listed():
    assert {"fetch", "models"} <= set(COMMANDS)
