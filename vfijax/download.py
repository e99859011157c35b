"""Files from the web: complete or not there, and gone on with where they were cut off."""

import hashlib
import http.client
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from email.utils import formatdate
from http.client import HTTPResponse
from pathlib import Path

from vfijax.command import Progress
from vfijax.files import writing

TIMEOUT = 30.0  # seconds without a byte
_BLOCK = 2**18  # bytes that are read at once
_CHANGED = (412, 416)  # answers to a request for the rest of a file that is another now, or has no rest


class DownloadError(OSError):
    """A file that could not be downloaded, or is not the one that it should be."""


def silent(message: str) -> None:
    """Tells nobody."""


def unseen(done: int, total: int | None) -> None:
    """Shows nothing."""


def download(
    address: str,
    path: Path,
    *,
    mirror: str = "",
    progress: Progress = unseen,
    tell: Callable[[str], None] = silent,
) -> None:
    """Downloads a file, which has its name when it is complete.

    What came before an error is kept beside it; the next call asks for the rest, where the server can give
    that and says nothing of a change since. One process at a time may download to a path.

    Args:
      address: `https://HOST/PATH`.
      path: where to write; the folder is there.
      mirror: `http(s)://OTHER` (`is_server`), to ask for `OTHER/PATH` instead.
      progress: told megabytes that are here, and in all.
      tell: told in a line where it goes on.

    Raises:
      DownloadError: no answer, an error as answer, or cut off.
      OSError: the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.{hashlib.sha256(address.encode()).hexdigest()[:8]}.partial")
    source = _mirrored(address, mirror)
    here = partial.stat().st_size if partial.exists() else 0
    with _answer(source, partial, here) as response:
        done, total = _extent(response, here)
        if done:
            tell(f"{path.name}: goes on at {_megabytes(done)} of {_megabytes(total)} MB")
        cut: Exception | None = None
        with writing(partial), partial.open("ab" if done else "wb") as file:
            while True:
                try:
                    block = response.read(_BLOCK)
                except (OSError, http.client.HTTPException) as error:
                    cut = error
                    break
                if not block:
                    break
                file.write(block)
                done += len(block)
                progress(done // 10**6, None if total is None else total // 10**6)
    if cut or (total is not None and done < total):
        reason = f" ({cut})" if cut else ""
        raise DownloadError(
            f"{source} was cut off after {_megabytes(done)} of {_megabytes(total)} MB{reason}; the same "
            "command goes on from there"
        )
    os.replace(partial, path)


def is_server(address: str) -> bool:
    """Whether an address is `http(s)://HOST`, whatever comes after it."""
    return re.match(r"https?://[^/]", address) is not None


def _mirrored(address: str, mirror: str) -> str:
    if not mirror:
        return address
    return mirror.rstrip("/") + urllib.parse.urlsplit(address).path


def _answer(source: str, partial: Path, here: int) -> HTTPResponse:
    """What a server says to a request for the rest of a file, or for all of it where there is no rest."""
    headers = {"User-Agent": "vfijax", "Accept-Encoding": "identity"}
    if here:
        headers["Range"] = f"bytes={here}-"
        headers["If-Unmodified-Since"] = formatdate(partial.stat().st_mtime, usegmt=True)
    host = urllib.parse.urlsplit(source).netloc
    try:
        response = urllib.request.urlopen(urllib.request.Request(source, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if here and error.code in _CHANGED:
            return _answer(source, partial, 0)
        raise DownloadError(f"{source} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise DownloadError(f"cannot reach {host} ({getattr(error, 'reason', None) or error})") from error
    if source.startswith("https:") and not response.url.startswith("https:"):
        response.close()
        raise DownloadError(f"{source} leads to {response.url}, which is not secure")
    return response


def _extent(response: HTTPResponse, here: int) -> tuple[int, int | None]:
    """How much of the file is here already, as the server sees it, and its whole size if that is known."""
    rest = re.fullmatch(rf"bytes {here}-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if response.status == 206:
        if rest is None:
            raise DownloadError(f"{response.url} sent another part of the file than the one asked for")
        return here, int(rest[1]) if rest[1].isdigit() else None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _megabytes(size: int | None) -> str:
    return "?" if size is None else f"{size / 1e6:.1f}"
