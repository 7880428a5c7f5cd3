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
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from tqdm import tqdm

from adlib.system.disk import new_folder
from adlib.system.printable import printable

MOST_BYTES = 8 * 2**30  # unpacked; the largest benchmark in one archive has about 6 GB; ours
MOST_FILES = 100_000  # and folders; the largest has 18,000; ours
CHUNK = 2**20  # bytes copied at a time
LONGEST_NAME = 2**16  # bytes of a tar header that extends another, which Python holds in memory
BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError)
COMPRESSED = {b"\x1f\x8b": gzip.open, b"BZ": bz2.open, b"\xfd7": lzma.open, b"]\0": lzma.open}
KINDS = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}

Members = Generator[tuple[str, int, Any], None, None]  # name, size, an open file or None


class ArchiveError(ValueError):
    """An archive that is not unpacked; nothing of it was left on the disk."""


class Budget:
    """How many bytes and files may still come out of all archives of one folder."""

    def __init__(self, most_bytes: int, most_files: int) -> None:
        self.most_bytes, self.most_files = most_bytes, most_files
        self.bytes = self.files = 0

    def take(self, archive: Path, size: int = 0, files: int = 0) -> None:
        """Count bytes and files that are about to be written; raise ArchiveError past a limit."""
        self.bytes, self.files = self.bytes + size, self.files + files
        if self.bytes > self.most_bytes:
            found, option = f"grows past {self.most_bytes / 2**30:,.3g} GiB unpacked", "--max-gib"
        elif self.files > self.most_files:
            found, option = f"holds more than {self.most_files:,} files", "--max-files"
        else:
            return
        raise ArchiveError(f"{archive} {found}; nothing was kept. If you trust it, raise {option}")


class _Header(tarfile.TarInfo):
    """A tar header that refuses to carry a name of gigabytes."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        header = super().frombuf(buf, encoding, errors)
        plain = (*tarfile.SUPPORTED_TYPES, tarfile.GNUTYPE_SPARSE)
        extends = header.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if (extends or header.type not in plain) and header.size > LONGEST_NAME:
            raise tarfile.ReadError(f"a header of {header.size:,} bytes")
        return header


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
    budget = Budget(most_bytes, most_files)
    with new_folder(target) as work:
        for archive in archives:
            with archive.open("rb") as file:
                start = file.read(4)
            read = _zip if start in (b"PK\x03\x04", b"PK\x05\x06") else _tar
            bar = tqdm(desc=f"unpacking {archive.name}", unit="file", delay=2, leave=False)
            try:
                with closing(read(archive, budget)) as members, bar:
                    for name, size, content in members:
                        _write(archive, work, name, size, content, budget)
                        bar.update()
            except ArchiveError:
                raise
            except (*BROKEN, OSError, RuntimeError, ValueError, OverflowError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise  # of the disk; those of gzip and bz2 have no number
                what = f"is damaged, or no zip or tar archive: {printable(str(error))}"
                raise ArchiveError(f"{archive} {what}; nothing was kept") from error
    return budget.files


def _zip(archive: Path, budget: Budget) -> Members:
    """Name, size and content of each member, whose kinds and sum are checked before the first."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        budget.take(archive, sum(member.file_size for member in members), len(members))
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                link = KINDS[tarfile.SYMTYPE] if kind == stat.S_IFLNK else "a device or pipe"
                raise _refusal(archive, member.filename, link)
            if member.flag_bits & 1:
                raise _refusal(archive, member.filename, "a file under a password")
            _check_name(archive, member.filename)
        for member in members:
            if member.is_dir():
                yield member.filename, 0, None
            else:
                with opened.open(member) as content:
                    yield member.filename, member.file_size, content


def _tar(archive: Path, budget: Budget) -> Members:
    """Name, size and content of each member, read from front to end."""
    with archive.open("rb") as file:
        expand = COMPRESSED.get(file.read(2))
    with (expand or open)(archive, "rb") as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as opened:
            for member in opened:
                opened.members = []  # or it keeps them all  # pyright: ignore[reportAttributeAccessIssue]
                if not (member.isreg() or member.isdir()):
                    kind = KINDS.get(member.type, f"a device or pipe, type {member.type!r}")
                    raise _refusal(archive, member.name, kind)
                _check_name(archive, member.name)
                budget.take(archive, max(member.size, 0), 1)
                yield member.name, member.size, opened.extractfile(member)
        while expand and (rest := stream.read(CHUNK)):  # to the checksum at its end
            budget.take(archive, len(rest))


def _check_name(archive: Path, name: str) -> None:
    """Refuse a path that could lead out of the folder, on any system."""
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        raise _refusal(archive, name, "an absolute path")
    if ".." in name.replace("\\", "/").split("/"):
        raise _refusal(archive, name, "a path with '..'")
    if "\\" in name or "\0" in name or not name:
        raise _refusal(archive, name, "a name that not every system reads alike")


def _refusal(archive: Path, name: str, what: str) -> ArchiveError:
    why = "such an entry may write or read outside of its folder; nothing was kept"
    return ArchiveError(f"{archive} holds {what}, {name[:200]!r}: {why}")


def _write(archive: Path, work: Path, name: str, size: int, content: Any, budget: Budget) -> None:
    """Write a member of a checked name; each folder on the way is a real one, since we made it."""
    path = work / name
    try:
        (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
        if content is None:
            return
        written = 0
        with path.open("xb") as file:
            while chunk := content.read(CHUNK):
                written += len(chunk)
                if written > size:  # more than its header says and the budget counted
                    budget.take(archive, len(chunk))
                file.write(chunk)
    except (FileExistsError, NotADirectoryError) as error:
        what = f"{name[:200]!r} twice, or as a file and a folder"
        raise ArchiveError(f"{archive} holds {what}; nothing was kept") from error
