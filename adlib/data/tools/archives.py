"""Unpacking of archives that strangers made: zip and tar (gz, xz, bz2), whole or not at all.

Everything is written into a new folder beside the target, which takes the target's name at the end;
only plain files and folders, and no more of them than stated, ever come out.
"""

import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from tqdm import tqdm

from adlib.system.disk import new_folder

MOST_BYTES = 8 * 2**30  # unpacked; the largest benchmark in one archive has about 6 GB; ours
MOST_FILES = 100_000  # and folders; the largest has 18,000; ours
CHUNK = 2**20  # bytes copied at a time
LONGEST_NAME = 2**16  # bytes of a tar header that extends another, which Python holds in memory
BROKEN = (  # what Python raises on bytes that it cannot follow
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
    OverflowError,
)
KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device file",
    tarfile.BLKTYPE: "a device file",
    tarfile.FIFOTYPE: "a pipe",
}


@runtime_checkable
class Content(Protocol):
    """An open member of an archive."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at its end."""
        ...


Members = Generator[tuple[str, int, Content | None], None, None]  # name, size, content of a file


class ArchiveError(ValueError):
    """An archive that is not unpacked; nothing of it was left on the disk."""


class Budget:
    """What may still come out; shared by all archives that go into one folder."""

    def __init__(self, most_bytes: int, most_files: int) -> None:
        self.most_bytes, self.most_files = most_bytes, most_files
        self.bytes = self.files = 0

    def take(self, archive: Path, size: int = 0, files: int = 0) -> None:
        """Count what is about to be written.

        Raises:
            ArchiveError: It is too much; nothing of that was written.
        """
        self.bytes += size
        self.files += files
        if self.bytes > self.most_bytes:
            raise ArchiveError(
                f"{archive} grows past {self.most_bytes / 2**30:,.3g} GiB when it is unpacked; "
                "nothing was kept. If you trust it and know its size, raise --max-gib"
            )
        if self.files > self.most_files:
            raise ArchiveError(
                f"{archive} holds more than {self.most_files:,} files; nothing was kept. If you "
                "trust it and know their number, raise --max-files"
            )


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
        most_files: Likewise, files and folders.
    Returns:
        How many files and folders came out.
    Raises:
        FileExistsError: The target holds something.
        FileNotFoundError: An archive is not there.
        ArchiveError: It holds something else than files and folders, or a path that leads out of
            the target, or more than the limits, or it is damaged. Nothing was kept.
        OSError: It could not be written. Nothing was kept.
    """
    for archive in archives:
        if not archive.is_file():
            raise FileNotFoundError(f"no archive {archive}")
    budget = Budget(most_bytes, most_files)
    with new_folder(target) as work:
        for archive in archives:
            members = _zip(archive, budget) if _starts_as_zip(archive) else _tar(archive, budget)
            bar = tqdm(desc=f"unpacking {archive.name}", unit="file", delay=2, leave=False)
            try:
                with closing(members), bar:
                    for name, size, content in members:
                        _write(archive, work, name, size, content, budget)
                        bar.update()
            except ArchiveError:
                raise
            except BROKEN as error:
                raise ArchiveError(
                    f"{archive} is damaged, or no zip or tar archive: {error}; nothing was kept"
                ) from error
    return budget.files


def _starts_as_zip(archive: Path) -> bool:
    with archive.open("rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _zip(archive: Path, budget: Budget) -> Members:
    """Name, size and content of each member, whose kinds and sum are checked before the first."""
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        budget.take(archive, sum(member.file_size for member in members), len(members))
        for member in members:
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a symbolic link" if kind == stat.S_IFLNK else "a device file"
                raise _refusal(archive, member.filename, what)
            if member.flag_bits & 1:
                raise _refusal(archive, member.filename, "a file under a password")
            check_name(archive, member.filename)
        for member in members:
            if member.is_dir():
                yield member.filename, 0, None
            else:
                with opened.open(member) as content:
                    yield member.filename, member.file_size, content


def _tar(archive: Path, budget: Budget) -> Members:
    """Name, size and content of each member, read from front to end."""
    with tarfile.open(archive, "r|*", tarinfo=_Header) as opened:
        for member in opened:
            opened.members = []  # or it keeps them all  # pyright: ignore[reportAttributeAccessIssue]
            if not (member.isreg() or member.isdir()):
                kind = KINDS.get(member.type, f"something of type {member.type!r}")
                raise _refusal(archive, member.name, kind)
            check_name(archive, member.name)
            budget.take(archive, max(member.size, 0), 1)
            yield member.name, member.size, opened.extractfile(member) if member.isreg() else None


def check_name(archive: Path, name: str) -> None:
    """Refuse a path that could lead out of the folder, on any system.

    Raises:
        ArchiveError: It is absolute, or holds "..", a drive or a backslash.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or name.startswith("\\") or name[1:2] == ":":
        raise _refusal(archive, name, "an absolute path")
    if ".." in name.replace("\\", "/").split("/"):
        raise _refusal(archive, name, "a path with '..'")
    if "\\" in name or "\0" in name or not name:
        raise _refusal(archive, name, "a name that not every system reads alike")


def _refusal(archive: Path, name: str, what: str) -> ArchiveError:
    return ArchiveError(
        f"{archive} holds {what}, {name[:200]!r}: it is not unpacked, since such an entry may "
        "write or read outside of its folder; nothing was kept"
    )


def _write(
    archive: Path, work: Path, name: str, size: int, content: Content | None, budget: Budget
) -> None:
    """Write a member of a checked name; each folder on the way is a real one, since we made it."""
    path = work / name
    try:
        if content is None:
            path.mkdir(parents=True, exist_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with path.open("xb") as file:
            while chunk := content.read(CHUNK):
                written += len(chunk)
                if written > size:  # more than its header says and the budget counted
                    budget.take(archive, len(chunk))
                file.write(chunk)
    except (FileExistsError, NotADirectoryError) as error:
        raise ArchiveError(
            f"{archive} holds {name[:200]!r} twice, or as a file and a folder; nothing was kept"
        ) from error
