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


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.name.endswith("zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in files.items():
                file.writestr(name, content)
        return path
    with tarfile.open(path, TARS[path.name.partition(".")[2]]) as file:  # pyright: ignore
        for name, content in files.items():
            add(file, name, content)
    return path


def add(file: tarfile.TarFile, name: str, content: bytes = b"", **fields: object) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for key, value in fields.items():
        setattr(header, key, value)
    file.addfile(header, io.BytesIO(content))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder to unpack in; whatever happens, nothing else appears beside or above it."""
    inside = tmp_path / "in/side"
    inside.mkdir(parents=True)
    (tmp_path / "secret").write_text("mine")
    before = tree(tmp_path)
    yield inside
    after = {k: v for k, v in tree(tmp_path).items() if not k.startswith("in/side/target/")}
    assert {k: v for k, v in after.items() if not k.startswith("in/side/bad.")} == before
    assert [p.name for p in inside.iterdir() if p.name.startswith(".")] == []


def refused(place: Path, archive: Path, words: str, **limits: int) -> None:
    with pytest.raises(ArchiveError, match=words):
        unpack([archive], place / "target", **limits)
    assert not (place / "target").exists()


@pytest.mark.parametrize("form", ["zip", *TARS])
def test_each_form_comes_out_whole(place: Path, form: str) -> None:
    archive = pack(place / f"bad.{form}", FILES)
    more = pack(place / "bad.1.zip", {"b/x": b"2"})
    assert unpack([archive, more], place / "target") == 4
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
    ],
)
def test_links_and_devices(place: Path, kind: bytes, words: str) -> None:
    with tarfile.open(place / "bad.tar", "w") as file:
        add(file, "set/a", b"first")
        add(file, "set/link", type=kind, linkname=str(place.parent.parent / "secret"))
        add(file, "set/link/through", b"evil")
    refused(place, place / "bad.tar", words)


@pytest.mark.parametrize(
    ("kind", "words"), [(stat.S_IFLNK, "a symbolic link"), (stat.S_IFCHR, "a device")]
)
def test_links_and_devices_in_a_zip(place: Path, kind: int, words: str) -> None:
    with zipfile.ZipFile(place / "bad.zip", "w") as file:
        link = zipfile.ZipInfo("set/link")
        link.external_attr = (kind | 0o777) << 16
        file.writestr(link, "../../../secret")
    refused(place, place / "bad.zip", words)


def test_a_zip_under_a_password(place: Path) -> None:
    raw = bytearray(pack(place / "bad.zip", FILES).read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1  # the flag in the directory, by which a reader goes
    (place / "bad.zip").write_bytes(raw)
    refused(place, place / "bad.zip", "a file under a password")


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


def test_ten_gigabytes_of_zeros_are_refused_unread(place: Path) -> None:
    """A real one: 10 GB that take no room on this disk."""
    assert MOST_BYTES < 10**10
    header = tarfile.TarInfo("zeros")
    header.size = 10**10
    with (place / "bad.tar").open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + 10**10 + 1024)
    refused(place, place / "bad.tar", "grows past 8 GiB")
    (place / "bad.tar").unlink()


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


@pytest.mark.parametrize("kind", [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_name_of_gigabytes_is_not_held_in_memory(place: Path, kind: bytes) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = kind, 10**9
    with (place / "bad.tar").open("wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        file.truncate(512 + 10**9)
    refused(place, place / "bad.tar", "a header of 1,000,000,000 bytes")
    (place / "bad.tar").unlink()


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
    whole = pack(place / f"bad.{form}", FILES).read_bytes()
    rng = random.Random(0)
    refusals = 0
    for _ in range(60):
        hurt = bytearray(whole[: rng.randrange(len(whole))] if rng.random() < 0.3 else whole)
        for _ in range(rng.randrange(1, 5)):
            if hurt:
                hurt[rng.randrange(len(hurt))] = rng.randrange(256)
        (place / f"bad.{form}").write_bytes(hurt)
        try:
            unpack([place / f"bad.{form}"], place / "target")
        except ArchiveError:
            refusals += 1
            assert not (place / "target").exists()
        else:
            if form != "tar":  # which has no checksum of its content
                assert tree(place / "target") == FILES
            shutil.rmtree(place / "target")
    assert refusals > 15


@pytest.mark.parametrize(("form", "at"), [("zip", 16), ("gz", -8), ("xz", -36), ("bz2", -5)])
def test_a_wrong_checksum_is_refused(place: Path, form: str, at: int) -> None:
    """Each form's own, while the content is as it was packed."""
    archive = pack(place / f"bad.{'tar.' * (form != 'zip')}{form}", FILES)
    raw = bytearray(archive.read_bytes())
    raw[at if at < 0 else raw.index(b"PK\x01\x02") + at] ^= 1
    archive.write_bytes(raw)
    refused(place, archive, "is damaged")


def test_a_file_that_is_no_archive_or_not_there(place: Path) -> None:
    (place / "bad.zip").write_bytes(b"\x89PNG" + bytes(600))
    refused(place, place / "bad.zip", "bad.zip is damaged, or no zip or tar archive")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        unpack([place / "nowhere"], place / "target")


def test_names_do_not_reach_the_terminal_as_they_are(place: Path) -> None:
    name = "set/\x1b[2J\u202egnp.exe\n/../x"
    with pytest.raises(ArchiveError) as caught:
        unpack([pack(place / "bad.tar", {name: b"x"})], place / "target")
    assert r"\x1b[2J\u202egnp.exe\n" in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_folder_that_holds_something_is_left_alone(place: Path) -> None:
    (place / "target").mkdir()
    (place / "target/mine").write_text("x")
    with pytest.raises(FileExistsError, match="target exists already"):
        unpack([pack(place / "bad.zip", FILES)], place / "target")
    assert tree(place / "target") == {"mine": b"x"}


def test_folders_made_on_the_way_vanish_with_a_refused_archive(place: Path) -> None:
    bad = pack(place / "bad.zip", {"../x": b"x"})
    (place / "old").mkdir()
    with pytest.raises(ArchiveError, match=r"a path with '\.\.'"):
        unpack([bad], place / "old/new/newer/target")
    assert list((place / "old").iterdir()) == []
