"""Published weights, downloaded and converted once: `vfijax fetch NAME`.

Everything is in the folder of `vfijax.files.cache_folder`: `weights/NAME` are checkpoints, which
`vfijax.load` and `--model` find by their names; `downloads` holds files that are under way, a lock for each
name, and the hashes of files whose hash is not published.
"""

import hashlib
import importlib.util
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from vfijax.checkpoint import CheckpointError, load, save
from vfijax.command import Progress, nearest
from vfijax.convert import from_torch
from vfijax.download import DownloadError, download, is_server, silent, unseen
from vfijax.files import cache_folder, write_text
from vfijax.models import MODELS
from vfijax.params import ModelParams
from vfijax.weights.published import (
    FETCHABLE,
    GITHUB,
    GITHUB_LFS,
    OTHER_NAMES,
    PUBLISHED,
    Published,
    folder,
    how_to_get,
)

MIRROR = "VFIJAX_MIRROR"  # http(s)://HOST of a server that has the same paths as the public ones


def fetch(
    name: str,
    *,
    overwrite: bool = False,
    mirror: str | None = None,
    progress: Progress = unseen,
    tell: Callable[[str], None] = silent,
) -> Path:
    """Downloads and converts published weights, unless they are there and whole.

    What was downloaded when an error or a signal ended it is kept, and the next call goes on from there. Of
    several processes one works and the others wait for it. The downloaded file is removed once converted.

    Args:
      name: an entry of `vfijax.weights.published.FETCHABLE`.
      overwrite: download again what is there.
      mirror: `http(s)://HOST` to ask instead of the public hosts, for the same paths; what VFIJAX_MIRROR
        says if None.
      progress: told megabytes that are here, and in all.
      tell: told in a line why it takes longer than it might.

    Returns:
      The checkpoint; `vfijax.load(name)` reads it.

    Raises:
      ValueError: no fetchable weights have that name, the mirror is no address, or PyTorch, which reads
        published files, is not installed.
      DownloadError: the file cannot be downloaded, or is not the published one.
      OSError: the folder cannot be written.
    """
    name = known(name)
    published, target = PUBLISHED[name], folder() / name
    if not overwrite and _whole(target):
        return target
    if importlib.util.find_spec("torch") is None:
        raise ValueError(
            f"fetch: {published.file} is a file of PyTorch, which is not installed; install it with "
            "`pip install -e '.[convert]'` in a checkout of vfijax"
        )
    server, given_by = (os.environ.get(MIRROR, ""), MIRROR) if mirror is None else (mirror, "mirror")
    if server and not is_server(server):
        raise ValueError(f"fetch: {given_by} is {server!r}; give an address such as https://HOST")
    get = partial(download, mirror=server, progress=progress, tell=tell)
    with _alone(name, tell):
        if not overwrite and _whole(target):
            return target  # by another process meanwhile
        if target.exists() and not overwrite:
            tell(f"{name}: what was fetched is damaged, and is fetched again")
        file = _downloads() / f"{name}-{published.file}"
        _receive(published, file, get)
        params = _converted(name, published, file)
        notes = {"git_blob": published.blob} if published.blob else {"sha256": sha256(file)}
        save(target, params, fetched_from=published.address, **notes)
        file.unlink()
    return target


def known(name: str) -> str:
    """The entry of `FETCHABLE` that a name means; raises ValueError, with the way there, if it means none."""
    name = OTHER_NAMES.get(name, name)
    if name in PUBLISHED and name not in FETCHABLE:
        raise ValueError(f"fetch: {name} cannot be fetched; {how_to_get(name)}")
    if name not in FETCHABLE and name in MODELS:
        raise ValueError(f"fetch: {name} has no published weights; `vfijax models` lists those that have")
    if name not in FETCHABLE:
        raise ValueError(
            f"fetch: no published weights are called {name!r}{nearest(name, PUBLISHED)} "
            f"(names: {', '.join(FETCHABLE)})"
        )
    return name


def _downloads() -> Path:
    return cache_folder() / "downloads"


def _whole(checkpoint: Path) -> bool:
    try:
        load(checkpoint)
    except CheckpointError:
        return False
    return True


@contextmanager
def _alone(name: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Holds the lock of a name, which the system takes back from a process that ends, however it ends."""
    import fcntl  # which not every system has

    try:
        for place in (_downloads(), folder()):
            place.mkdir(parents=True, exist_ok=True)
        file = (_downloads() / f"{name}.lock").open("w")
    except OSError as error:
        raise OSError(
            error.errno,
            f"fetch: cannot write the cache {cache_folder()}: {error.strerror}; name another folder in "
            "VFIJAX_CACHE",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell(f"{name}: waiting for another process that fetches it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


# ------------------------------------------------------------------------------------- what came


def git_blob(path: Path) -> str:
    """The hash by which git knows the content of a file, in hexadecimal."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(2**18):
            digest.update(block)
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _receive(published: Published, file: Path, get: Callable[[str, Path], None]) -> None:
    """Downloads the published file and checks it, unless an earlier call has left it there.

    A repository holds a file or, with Git LFS, a pointer with the hash of a file that is elsewhere. Which of
    the two the published hash is of does not matter: a pointer is followed, and one of both must fit.
    """
    if file.exists() and published.blob and git_blob(file) == published.blob and not _pointer(file):
        return
    _get(published, published.address, file, get)
    blobs = [git_blob(file)]
    if (content := _pointer(file)) and published.address.startswith(GITHUB):
        _get(published, published.address.replace(GITHUB, GITHUB_LFS, 1), file, get)
        blobs.append(git_blob(file))
        if sha256(file) != content:
            raise _wrong(published, file, f"SHA-256 {sha256(file)}, its pointer in Git LFS says {content}")
    if published.blob and published.blob not in blobs:
        raise _wrong(published, file, f"git blob {blobs[-1]}, not {published.blob}")


def _get(published: Published, address: str, file: Path, get: Callable[[str, Path], None]) -> None:
    try:
        get(address, file)
    except DownloadError as error:
        convert = f"`vfijax convert {published.model} {published.file} CHECKPOINT`"
        raise DownloadError(f"fetch: {error}; a file from elsewhere is converted by {convert}") from error


def _pointer(path: Path) -> str:
    """The SHA-256 of the content that a Git LFS pointer stands for; empty if the file is no pointer."""
    if path.stat().st_size > 1024:
        return ""
    form = rb"version https://git-lfs\.github\.com/spec/v1\n(?:.*\n)*?oid sha256:([0-9a-f]{64})\n"
    found = re.match(form, path.read_bytes())
    return found[1].decode() if found else ""


def _converted(name: str, published: Published, file: Path) -> ModelParams:
    """The model of a downloaded file; where no hash is published, that of the first one is kept."""
    first = _downloads() / f"{name}.sha256"
    if not published.blob and first.exists() and (known := first.read_text().strip()) != sha256(file):
        replaced = f"if its authors have replaced it, delete {first}"
        raise _wrong(published, file, f"SHA-256 {sha256(file)}, the first download had {known}; {replaced}")
    try:
        params = from_torch(published.model, file)
    except ValueError as error:
        if published.blob:
            raise  # it is the file, and stays for the next call
        raise _wrong(published, file, str(error)) from error
    if not published.blob:
        write_text(first, f"{sha256(file)}\n")
    return params


def _wrong(published: Published, file: Path, reason: str) -> DownloadError:
    """The error for a file that is not the published one, which is deleted."""
    size = file.stat().st_size
    file.unlink()
    return DownloadError(
        f"fetch: what came for {published.address} is not the published file ({size:,} bytes; {reason}); it "
        f"was deleted. See {published.authors.page}"
    )
