"""Clips in WebDataset tars: found where they are, in tars of every make, broken and hostile ones too."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_dataset import tars
from kinema_dataset.issues import Issues, Reason
from kinema_dataset.tars import MAX_HEADER_BYTES, TarClip, clips_of, members

FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)


def tar(files: Iterable[tuple[str, bytes]], kind: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind) as made:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def found(data: bytes) -> tuple[list[TarClip], Issues]:
    issues = Issues()

    def read(first: int, length: int) -> bytes:
        assert length <= max(tars.WINDOW, MAX_HEADER_BYTES) + 1
        assert first + length <= len(data)
        return data[first : first + length]

    return list(clips_of(read, len(data), "a.tar", issues)), issues


@pytest.mark.parametrize("kind", FORMATS)
def test_clips_are_found_where_they_are(kind: int) -> None:
    deep = "/".join(["folder" * 3] * 10)
    files = [
        ("v/1.mp4", b"one" * 400_000),
        ("v/1.txt", b"a fox"),
        ("v/2.json", b'{"short": "a cat", "rich": "A grey cat."}'),
        ("v/2.MOV", b"two"),
        (f"{deep}/3.png", b"three"),
        (f"{deep}/3.txt", "ein Bär".encode()),
    ]
    data = tar(files, kind)
    clips, issues = found(data)
    cut = [data[clip.member.first : clip.member.first + clip.member.bytes] for clip in clips]
    assert cut == [files[0][1], files[3][1], files[4][1]]
    assert [clip.key for clip in clips] == ["v/1", "v/2", f"{deep}/3"]
    assert [clip.captions.rich for clip in clips if clip.captions] == ["a fox", "A grey cat.", "ein Bär"]
    assert not issues.counts


@given(files=st.lists(st.tuples(st.text(min_size=1, max_size=150), st.binary(max_size=1500)), max_size=6))
@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_the_standard_library_finds(kind: int, files: list[tuple[str, bytes]]) -> None:
    named = [(name.replace("\0", "0").strip("/") or "x", content) for name, content in files]
    named = [(name.encode(errors="replace").decode(), content) for name, content in named]
    data = tar(named, kind)
    mine = list(members(lambda first, length: data[first : first + length], len(data), "a.tar"))
    with tarfile.open(fileobj=io.BytesIO(data)) as theirs:
        assert [(m.name.rstrip("/"), m.first, m.bytes) for m in mine] == [
            (i.name, i.offset_data, i.size) for i in theirs.getmembers() if i.isfile()
        ]


@pytest.mark.parametrize(
    ("files", "reason", "clips"),
    [
        ([("1.mp4", b"x"), ("2.mp4", b"x"), ("2.txt", b"fox")], Reason.MISSING, 2),
        ([("1.mp4", b"x"), ("1.txt", b"fox"), ("2.txt", b"cat")], Reason.OTHER_FILE, 1),
        ([("1.mp4", b"x"), ("1.txt", b"fox"), ("1.json", b'{"text": "cat"}')], Reason.TWO_SOURCES, 1),
        ([("1.mp4", b"x"), ("1.txt", b"f" * (1 << 20)), ("1.json", b'{"text": "cat"}')], Reason.TOO_LONG, 1),
        ([("1.mp4", b"x"), ("1.txt", b"fox"), ("1.exe", b"MZ")], Reason.NOT_A_CLIP, 1),
        ([("1.mp4", b"x"), ("1.txt", b"fox"), ("1.mp4", b"y")], Reason.DUPLICATE, 1),
    ],
)
def test_what_is_wrong_is_counted_and_named(files: list[tuple[str, bytes]], reason: Reason, clips: int) -> None:
    got, issues = found(tar(files))
    assert issues.counts == {reason: 1}
    assert issues.sentences[reason][0].startswith("a.tar: ")
    assert len(got) == clips


def test_a_tar_that_breaks_off_gives_what_came_before() -> None:
    data = tar([("1.mp4", b"x"), ("1.txt", b"fox"), ("2.mp4", b"y" * 5000)])
    clips, issues = found(data[:4096])
    assert [clip.key for clip in clips] == ["1"]
    assert issues.counts == {Reason.UNREADABLE: 1}
    assert "it ends within a file" in issues.sentences[Reason.UNREADABLE][0]


def test_a_header_cannot_ask_for_memory() -> None:
    info = tarfile.TarInfo("a" * 200)
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    assert header[156:157] == b"L"
    header[124:136] = b"77777777777\0"
    header[148:156] = b"%06o\0 " % (sum(header[:512]) - sum(header[148:156]) + 8 * 32)
    issues = Issues()
    assert not list(clips_of(lambda first, length: bytes(header)[first:][:length], 1 << 40, "a.tar", issues))
    assert "a header of 8589934591 bytes" in issues.sentences[Reason.UNREADABLE][0]


@given(data=st.binary(max_size=2048), at=st.integers(0, 2047))
def test_no_bytes_raise_anything(data: bytes, at: int) -> None:
    found(data)
    whole = tar([("1.mp4", b"x"), ("1.txt", b"fox")])
    found(whole[:at] + data + whole[at + len(data) :])
