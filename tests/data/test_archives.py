"""Archives unpack whole or not at all, and never write outside of their folder."""

import gzip
import io
import random
import shutil
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from adlib.data.tools.archives import MOST_BYTES, MOST_FILES, ArchiveError, unpack

FILES = {"set/a.png": b"one", "set/deep/er/b.png": bytes(range(256)) * 9, "set/empty.txt": b""}
TARS = {"tar": "w:", "tar.gz": "w:gz", "tar.xz": "w:xz", "tar.bz2": "w:bz2"}
SECRET = "../../../secret"


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.name.endswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in files.items():
                file.writestr(name, content)
    else:
        with tarfile.open(path, TARS[path.name.partition(".")[2]]) as file:  # pyright: ignore
            for name, content in files.items():
                add(file, name, content)
    return path


def add(file: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    header = tarfile.TarInfo(name)
    for key, value in ({"size": len(content)} | fields).items():
        setattr(header, key, value)
    file.addfile(header, io.BytesIO(content))


def sparse(path: Path, name: str, kind: bytes, size: int) -> None:
    """A tar of one header that announces so many bytes, which take no room on this disk."""
    header = tarfile.TarInfo(name)
    header.type, header.size = kind, size
    with path.open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + size + 1024)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder to unpack in; whatever happens, nothing else appears beside or above it."""
    inside = tmp_path / "in/side"
    inside.mkdir(parents=True)
    (tmp_path / "secret").write_text("mine")
    yield inside
    for archive in inside.glob("bad.*"):
        archive.unlink()
    shutil.rmtree(inside / "target", ignore_errors=True)
    assert tree(tmp_path) == {"secret": b"mine"}
    assert [p.name for p in inside.iterdir() if p.name.startswith(".")] == []


def refused(place: Path, archive: Path, words: str, **limits: int) -> None:
    with pytest.raises(ArchiveError, match=words) as caught:
        unpack([archive], place / "target", **limits)
    assert str(caught.value).startswith(str(archive))
    assert not (place / "target").exists()


@pytest.mark.parametrize("form", ["zip", *TARS])
def test_each_form_comes_out_whole(place: Path, form: str) -> None:
    archives = [pack(place / f"bad.{form}", FILES), pack(place / "bad.1.zip", {"b/x": b"2"})]
    assert unpack(archives, place / "target") == 4
    assert tree(place / "target") == FILES | {"b/x": b"2"}


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("/etc/cron.d/x", "an absolute path, '/etc/cron.d/x'"),
        ("../../secret", r"a path with '\.\.', '\.\./\.\./secret'"),
        ("set/../../../secret", r"a path with '\.\.'"),
        ("C:/Windows/x", "an absolute path"),
        ("..\\..\\secret", r"a path with '\.\.'"),
        ("set\\x", "not every system"),
    ],
)
def test_paths_that_lead_out(place: Path, form: str, name: str, words: str) -> None:
    refused(place, pack(place / f"bad.{form}", {"set/a": b"first", name: b"evil"}), words)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (tarfile.SYMTYPE, "a symbolic link, 'set/link'"),
        (tarfile.LNKTYPE, "a hard link, 'set/link'"),
        (tarfile.CHRTYPE, "a device"),
        (tarfile.BLKTYPE, "a device"),
        (tarfile.FIFOTYPE, "pipe"),
        (b"Q", "type b'Q'"),
        (stat.S_IFLNK, "a symbolic link, 'set/link'"),
        (stat.S_IFCHR, "a device"),
    ],
)
def test_links_and_devices(place: Path, kind: bytes | int, words: str) -> None:
    archive = place / f"bad.{'zip' if isinstance(kind, int) else 'tar'}"
    if isinstance(kind, int):
        with zipfile.ZipFile(archive, "w") as file:
            link = zipfile.ZipInfo("set/link")
            link.external_attr = (kind | 0o777) << 16
            file.writestr(link, SECRET)
    else:
        with tarfile.open(archive, "w") as file:
            add(file, "set/a", b"first")
            add(file, "set/link", type=kind, linkname=str(place.parent.parent / "secret"))
            add(file, "set/link/through", b"evil")
    refused(place, archive, words)


@pytest.mark.parametrize("form", ["zip", "tar.gz", "tar.xz"])
def test_zeros_past_the_limit(place: Path, form: str) -> None:
    archive = pack(place / f"bad.{form}", {"a": b"x", "zeros": bytes(3 * 2**20)})
    assert archive.stat().st_size < 20_000
    refused(place, archive, r"grows past 0\.00195 GiB.* raise --max-gib", most_bytes=2 * 2**20)
    assert unpack([archive], place / "target", most_bytes=4 * 2**20) == 2


def test_zeros_after_the_last_member_count_as_well(place: Path) -> None:
    inner = pack(place / "bad.tar", FILES).read_bytes()
    (place / "bad.tar.gz").write_bytes(gzip.compress(inner + bytes(3 * 2**20)))
    refused(place, place / "bad.tar.gz", "grows past", most_bytes=2 * 2**20)


@pytest.mark.parametrize(
    ("kind", "size", "words"),
    [(tarfile.REGTYPE, 10**10, "grows past 8 GiB")]
    + [
        (kind, 10**9, "a header of 1,000,000,000 bytes")  # a name, which Python holds in memory
        for kind in (tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE)
    ],
)
def test_gigabytes_are_refused_unread(place: Path, kind: bytes, size: int, words: str) -> None:
    assert MOST_BYTES < 10**10
    sparse(place / "bad.tar", "zeros", kind, size)
    refused(place, place / "bad.tar", words)


def test_200_000_files_are_refused_unread(place: Path) -> None:
    """A real directory of 200,000 entries, which says so before anything is unpacked."""
    assert MOST_FILES < 200_000
    entry = struct.Struct("<4s6H3I5H2I")
    directory = b"".join(
        entry.pack(b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0) + b"%06d" % k
        for k in range(200_000)
    )
    sizes = 44, 45, 45, 0, 0, 200_000, 200_000, len(directory), 4
    end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", *sizes)
    end += struct.pack("<4sIQI", b"PK\6\7", 0, 4 + len(directory), 1)
    end += struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    (place / "bad.zip").write_bytes(b"PK\3\4" + directory + end)
    refused(place, place / "bad.zip", "more than 100,000 files.* raise --max-files")


@pytest.mark.parametrize("form", ["zip", "tar", "tar.gz"])
def test_more_files_than_allowed(place: Path, form: str) -> None:
    many = pack(place / f"bad.{form}", {f"d/{k}": b"" for k in range(60)})
    refused(place, many, "more than 50 files", most_files=50)
    assert unpack([many], place / "target", most_files=60) == 60


def test_limits_hold_for_all_archives_together(place: Path) -> None:
    parts = [pack(place / f"bad.{k}.zip", {f"{k}": bytes(1000)}) for k in range(3)]
    with pytest.raises(ArchiveError, match=r"bad\.2\.zip grows past"):
        unpack(parts, place / "target", most_bytes=2500)
    assert not (place / "target").exists()


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_one_name_twice(place: Path, names: tuple[str, str]) -> None:
    with tarfile.open(place / "bad.tar", "w") as file:
        for name in names:
            add(file, name, b"x")
    refused(place, place / "bad.tar", r"'.*' twice, or as a file and a folder")
    if names[0] != names[1]:  # zipfile does not write the other without a warning
        refused(place, pack(place / "bad.zip", dict.fromkeys(names, b"x")), "as a file and a fold")


@pytest.mark.parametrize("form", ["zip", *TARS])
def test_damage_is_refused(place: Path, form: str) -> None:
    """Cut short or with bytes changed at random: an error that says so, or all of it unhurt."""
    archive = pack(place / f"bad.{form}", FILES)
    whole, rng, refusals = archive.read_bytes(), random.Random(0), 0
    for _ in range(60):
        hurt = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(1, 5)):
            if hurt:
                hurt[rng.randrange(len(hurt))] = rng.randrange(256)
        archive.write_bytes(hurt)
        try:
            unpack([archive], place / "target")
        except ArchiveError:
            refusals += 1
            assert not (place / "target").exists()
        else:
            assert form == "tar" or tree(place / "target") == FILES  # a tar has no checksum
            shutil.rmtree(place / "target")
    assert refusals > 15


@pytest.mark.parametrize(
    ("form", "at", "words"),
    [("zip", 16, "is damaged"), ("zip", 8, "a file under a password"), ("gz", -8, "is damaged"),
     ("xz", -36, "is damaged"), ("bz2", -5, "is damaged")],
)  # fmt: skip
def test_a_wrong_checksum_or_flag_is_refused(place: Path, form: str, at: int, words: str) -> None:
    """Each form's own, while the content is as it was packed."""
    archive = pack(place / f"bad.{'tar.' * (form != 'zip')}{form}", FILES)
    raw = bytearray(archive.read_bytes())
    raw[at if at < 0 else raw.index(b"PK\x01\x02") + at] ^= 1
    archive.write_bytes(raw)
    refused(place, archive, words)


def test_a_file_that_is_no_archive_or_not_there(place: Path) -> None:
    (place / "bad.zip").write_bytes(b"\x89PNG" + bytes(600))
    refused(place, place / "bad.zip", "bad.zip is damaged, or no zip or tar archive")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        unpack([place / "nowhere"], place / "target")


def test_names_do_not_reach_the_terminal_as_they_are(place: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        unpack(
            [pack(place / "bad.tar", {"set/\x1b[2J\u202egnp.exe\n/../x": b""})], place / "target"
        )
    assert r"\x1b[2J\u202egnp.exe\n" in str(caught.value)
    assert str(caught.value).isprintable()


def test_folders_that_were_there_stay_and_those_made_on_the_way_vanish(place: Path) -> None:
    (place / "target").mkdir()
    (place / "target/mine").write_text("x")
    with pytest.raises(FileExistsError, match="target exists already"):
        unpack([pack(place / "bad.zip", FILES)], place / "target")
    assert tree(place / "target") == {"mine": b"x"}
    (place / "old").mkdir()
    with pytest.raises(ArchiveError, match=r"a path with '\.\.'"):
        unpack([pack(place / "bad.zip", {"../x": b"x"})], place / "old/new/newer/target")
    assert list((place / "old").iterdir()) == []
