"""Unpacking of archives that strangers made: zip and tar (gz, xz, bz2), whole or not at all.

Everything is written into a new folder beside the target, which takes the target's name at the end;
only plain files and folders, and no more of them than stated, ever come out.
"""

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from adlib.system.disk import new_folder
from adlib.system.printable import printable

MOST_BYTES = 8 * 2**30  # unpacked; the largest benchmark in one archive has about 6 GB; ours
MOST_FILES = 100_000  # and folders; the largest has 18,000; ours
LONGEST_NAME = 2**16  # bytes of a tar header that extends another, which Python holds in memory
EXTENSIONS = b"LKxgX"  # the types of these headers
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open, b"]\0": lzma.open}
KINDS = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError,
          RuntimeError, ValueError, OverflowError)  # fmt: skip


class ArchiveError(ValueError):
    """An archive that is not unpacked; nothing of it was left on the disk."""


class _RefusedError(Exception):
    """The end of the sentence that says what an archive holds."""


class _Header(tarfile.TarInfo):
    """A tar header that refuses to carry a name of gigabytes."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        if header.type in EXTENSIONS and header.size > LONGEST_NAME:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header


class _Folder:
    """The folder that is filled, and how many bytes and files of all archives may go into it."""

    def __init__(self, path: Path, most_bytes: int, most_files: int) -> None:
        self.path, self.most_bytes, self.most_files = path, most_bytes, most_files
        self.bytes = self.files = 0

    def count(self, size: int, files: int = 0) -> None:
        self.bytes, self.files = self.bytes + size, self.files + files
        if self.bytes > self.most_bytes:
            gib = self.most_bytes / 2**30
            raise _RefusedError(
                f"grows past {gib:,.3g} GiB unpacked; if you trust it, raise --max-gib"
            )
        if self.files > self.most_files:
            many = f"holds more than {self.most_files:,} files"
            raise _RefusedError(f"{many}; if you trust it, raise --max-files")

    def check(self, name: str, kind: str, *, is_folder: bool) -> None:
        """Refuse an entry that is `kind`, whose path could lead out, or that is there already."""
        if not kind and (name.startswith(("/", "\\")) or name[1:2] == ":"):
            kind = "an absolute path"
        elif not kind and ".." in name.replace("\\", "/").split("/"):
            kind = "a path with '..'"
        elif not kind and ("\\" in name or "\0" in name or not name):
            kind = "a name that not every system reads alike"
        if kind:
            why = "such an entry may write or read outside of its folder"
            raise _RefusedError(f"holds {kind}, {name[:200]!r}: {why}")
        place = self.path / name
        blocked = place.exists() and not (is_folder and place.is_dir())
        if blocked or any(above.is_file() for above in place.parents):
            raise _RefusedError(f"holds {name[:200]!r} twice, or as a file and a folder")


def unpack(
    archives: Sequence[Path],
    target: Path,
    *,
    most_bytes: int = MOST_BYTES,
    most_files: int = MOST_FILES,
) -> int:
    """Unpack archives into a new folder, which appears when all of them are whole.

    Args:
        archives: Zip or tar files, told apart by their content.
        target: The folder; not there yet, or empty.
        most_bytes: Limit to all of them together, unpacked.
        most_files: Likewise, files and folders; their number is returned.
    Raises:
        FileExistsError: The target holds something.
        ArchiveError: It holds something else than files and folders, or a path that leads out of
            the target, or more than the limits, or it is damaged. Nothing was kept.
        OSError: An archive is not there, or could not be written. Nothing was kept.
    """
    with new_folder(target) as work:
        folder = _Folder(work, most_bytes, most_files)
        for archive in archives:
            with archive.open("rb") as file:
                members = _zip if file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") else _tar
            bar = tqdm(desc=f"unpacking {archive.name}", unit="file", delay=2, leave=False)
            try:
                with bar:
                    for _ in members(archive, folder):
                        bar.update()
            except _RefusedError as error:
                raise ArchiveError(f"{archive} {error}; nothing was kept") from None
            except BROKEN as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of the disk; those of gzip and bz2 have no number
                what = f"is damaged, or no zip or tar archive: {printable(str(error))}"
                raise ArchiveError(f"{archive} {what}; nothing was kept") from error
    return folder.files


def _zip(archive: Path, folder: _Folder) -> Iterator[None]:
    """Unpack member after member; the directory of a zip tells all sizes before the first."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        folder.count(sum(member.file_size for member in members), len(members))
        for member in members:
            mode = stat.S_IFMT(member.external_attr >> 16)
            kind = "" if mode in (0, stat.S_IFREG, stat.S_IFDIR) else "a device or pipe"
            kind = KINDS[tarfile.SYMTYPE] if mode == stat.S_IFLNK else kind
            kind = "a file under a password" if member.flag_bits & 1 else kind
            folder.check(member.filename, kind, is_folder=member.is_dir())
            opened.extract(member, folder.path)
            yield


def _tar(archive: Path, folder: _Folder) -> Iterator[None]:
    """Unpack member after member, and read on to the checksum at the end."""
    with archive.open("rb") as file:
        expand = COMPRESSED.get(file.read(2), open)
    with expand(archive, "rb") as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as opened:
            # from Python 3.11.4 on; it also takes away special permissions
            opened.extraction_filter = getattr(tarfile, "data_filter", None)
            for member in opened:
                opened.members = []  # or it keeps them all  # pyright: ignore[reportAttributeAccessIssue]
                plain = member.isreg() or member.isdir()
                kind = KINDS.get(member.type, f"a device or pipe, type {member.type!r}")
                folder.check(member.name, "" if plain else kind, is_folder=member.isdir())
                folder.count(max(member.size, 0), 1)
                opened.extract(member, folder.path)
                yield
        while rest := stream.read(2**20):
            folder.count(len(rest))
