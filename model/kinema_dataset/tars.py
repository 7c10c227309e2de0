"""The clips of a WebDataset tar: where each lies in it, and its captions, without taking anything out.

Files of one name up to the first dot belong together: `KEY.mp4` with `KEY.txt` or `KEY.json`. The headers are read
here, since the standard library reads names and attributes of any length that a header asks for. Clips are passed
over, and each is later read by its range; no name in a tar ever becomes a path.

Source: IEEE Std 1003.1-2017, pax, "pax Interchange Format" and "ustar Interchange Format"; WebDataset, README.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from kinema_dataset.errors import TarUnreadable
from kinema_dataset.issues import Issue, Issues, Reason, shown
from kinema_dataset.sidecars import MAX_SIDECAR_BYTES, CaptionText, json_sidecar, text_sidecar
from kinema_model.source import Captions

MEDIA_ENDINGS: Final = ("mp4", "mov", "webm", "mkv", "png", "jpg", "jpeg", "webp")
MAX_MEMBERS: Final = 1_000_000
MAX_HEADER_BYTES: Final = 64 << 10
"""Longest extended header; a name in it has at most MAX_NAME bytes."""
MAX_NAME: Final = 1024
WINDOW: Final = 256 << 10
"""Bytes of one request for headers: those of small files, and the files, come many at a time."""
_BLOCK: Final = 512
_FILES: Final = (b"0", b"\0", b"7")
_PAX, _PAX_GLOBAL, _LONG_NAME, _LONG_LINK = b"x", b"g", b"L", b"K"

ReadAt = Callable[[int, int], bytes]
"""Bytes of the tar: (first, length), exactly as many."""


@dataclass(frozen=True)
class Member:
    """A file in a tar: its bytes are those from `first` on."""

    name: str
    first: int
    bytes: int


@dataclass(frozen=True)
class TarClip:
    """A clip in a tar, and its captions if it has any."""

    key: str
    member: Member
    captions: Captions | None


def members(read: ReadAt, size: int, name: str) -> Iterator[Member]:
    """The files of a tar of `size` bytes, in their order.

    Raises:
        TarUnreadable: it ends within a file, or a header is none; the files before it have been given.
    """
    window = _Window(read, size, name)
    at, renamed, resized = 0, "", -1
    for _ in range(2 * MAX_MEMBERS):
        if at >= size or not any(header := window.read(at, _BLOCK)):
            return
        kind, length = header[156:157], _length(header, at, name)
        at += _BLOCK
        if kind in (_PAX, _LONG_NAME):
            if length > MAX_HEADER_BYTES:
                raise _unreadable(name, at, f"a header of {length} bytes")
            extended = window.read(at, length)
            changed = _pax(extended) if kind == _PAX else {"path": extended.rstrip(b"\0")}
            renamed = _text(changed["path"]) if "path" in changed else renamed
            resized = int(changed["size"]) if _is_number(changed.get("size", b"")) else resized
        elif kind not in (_PAX_GLOBAL, _LONG_LINK):
            length = resized if resized >= 0 else length
            if at + length > size:
                raise _unreadable(name, at, "it ends within a file")
            if kind in _FILES:
                yield Member(renamed or _name(header), at, length)
            renamed, resized = "", -1
        at += -(-length // _BLOCK) * _BLOCK
    raise TarUnreadable(f"{shown(name)} has more than {MAX_MEMBERS} files. Split it.")


def clips_of(read: ReadAt, size: int, name: str, issues: Issues) -> Iterator[TarClip]:
    """The clips of a tar of `size` bytes in their order; `issues` counts what is wrong with captions and files.

    Where the tar breaks off, that is counted, and the clips before it are given.
    """
    group = _Group("")
    seen: set[str] = set()
    try:
        for member in members(read, size, name):
            key, kind = _split(member.name)
            if key != group.key:
                yield from group.clips(name, issues, seen)
                group = _Group(key)
            group.take(name, member, kind, read, issues)
    except TarUnreadable as error:
        issues.add(Issue(Reason.UNREADABLE, name, "", str(error)))
    yield from group.clips(name, issues, seen)


@dataclass
class _Group:
    """The files of one key."""

    key: str
    media: list[Member] = field(default_factory=list)
    texts: dict[str, CaptionText] = field(default_factory=dict)

    def take(self, tar: str, member: Member, kind: str, read: ReadAt, issues: Issues) -> None:
        """Note a clip, read a caption, and count anything else."""
        where = f"{tar}: {member.name}"
        try:
            if kind in MEDIA_ENDINGS:
                self.media.append(member)
            elif kind in ("txt", "json"):
                # One byte more than is read of a file: so it says that it is too long.
                data = read(member.first, min(member.bytes, MAX_SIDECAR_BYTES + 1))
                self.texts[kind] = (json_sidecar if kind == "json" else text_sidecar)(where, data)
            else:
                issues.add(Issue(Reason.NOT_A_CLIP, where, "", f"it is none of {', '.join(MEDIA_ENDINGS)}."))
        except Issue as issue:
            issues.add(issue)

    def clips(self, tar: str, issues: Issues, seen: set[str]) -> Iterator[TarClip]:
        """The clips of the key; a name that was there before is counted and left out."""
        text = self.texts.get("json") or self.texts.get("txt")
        if len(set(self.texts.values())) > 1:
            sentence = "both .json and .txt tell of it, and .json counts. Keep one of them."
            issues.add(Issue(Reason.TWO_SOURCES, f"{tar}: {self.key}", "", sentence))
        for member in self.media:
            if member.name in seen:
                sentence = "this name is in the tar twice, and the first one counts. Rename one of them."
                issues.add(Issue(Reason.DUPLICATE, f"{tar}: {member.name}", "", sentence))
                continue
            seen.add(member.name)
            if text is None:
                sentence = "it has no caption. Add a .txt of its key beside it, or let a captioner write one."
                issues.add(Issue(Reason.MISSING, f"{tar}: {member.name}", "", sentence))
            yield TarClip(self.key, member, text.captions() if text else None)
        if self.texts and not self.media:
            sentence = "no clip has this key. Add the clip or delete the caption."
            issues.add(Issue(Reason.OTHER_FILE, f"{tar}: {self.key}", "", sentence))


class _Window:
    """Reads a tar by stretches of WINDOW bytes, of which it keeps one."""

    def __init__(self, read: ReadAt, size: int, name: str) -> None:
        self._read, self._size, self._name = read, size, name
        self._first, self._data = 0, b""

    def read(self, first: int, length: int) -> bytes:
        """Bytes of the tar. Raises `TarUnreadable` where it ends before them."""
        if first + length > self._size:
            raise _unreadable(self._name, first, "it ends within a header")
        if not self._first <= first <= first + length <= self._first + len(self._data):
            self._first, self._data = first, self._read(first, min(max(WINDOW, length), self._size - first))
        at = first - self._first
        return self._data[at : at + length]


def _length(header: bytes, at: int, name: str) -> int:
    """Bytes of the file that a header announces. Raises `TarUnreadable` where the header's checksum is not its own."""
    try:
        told = int(header[148:156].strip(b"\0 ") or b"0", 8)
        wide = header[124] & 0x80
        length = int.from_bytes(header[125:136], "big") if wide else int(header[124:136].strip(b"\0 ") or b"0", 8)
    except ValueError:
        raise _unreadable(name, at, "a header without numbers") from None
    if length < 0 or told != sum(header) - sum(header[148:156]) + 8 * 32:
        raise _unreadable(name, at, "a header with a wrong checksum")
    return length


def _pax(data: bytes) -> dict[str, bytes]:
    """Attributes of an extended header: lines of `LENGTH KEY=VALUE`; what is no such line ends it."""
    found: dict[str, bytes] = {}
    while data:
        digits, _, _ = data[:20].partition(b" ")
        if not digits.isdigit() or not len(digits) + 1 < int(digits) <= len(data):
            break
        key, _, value = data[len(digits) + 1 : int(digits)].removesuffix(b"\n").partition(b"=")
        found[_text(key)] = value
        data = data[int(digits) :]
    return found


def _is_number(digits: bytes) -> bool:
    return digits.isdigit() and len(digits) <= 19


def _name(header: bytes) -> str:
    base, prefix = header[:100].rstrip(b"\0"), header[345:500].rstrip(b"\0")
    return _text(prefix + b"/" + base if prefix and header[257:263] == b"ustar\0" else base)


def _text(name: bytes) -> str:
    return name[:MAX_NAME].decode("utf-8", errors="replace")


def _split(name: str) -> tuple[str, str]:
    """A name up to the first dot of its last part, and what follows in lower case."""
    folder, slash, base = name.rpartition("/")
    stem, _, kind = base.partition(".")
    return f"{folder}{slash}{stem}", kind.lower()


def _unreadable(name: str, at: int, why: str) -> TarUnreadable:
    return TarUnreadable(f"{shown(name)} is damaged at byte {at}: {why}. Upload it again.")
