"""Captions of recorded clips, from every place where people keep them: files beside a clip, and tables of a folder.

Beside `NAME.mp4` may lie `NAME.json` (`short`, `rich`, `caption` or `text`) or `NAME.txt`. A folder may hold
`metadata.jsonl` or `metadata.csv` with `file_name` and a text, as in HuggingFace datasets and finetrainers. Where
several tell of one clip, the first of json, txt, jsonl and csv counts, the nearest table of several, and the choice is
counted. A caption that cannot be used is named in one sentence and counted; the others are read all the same.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from kinema_dataset.errors import MetadataUnreadable
from kinema_dataset.issues import Issue, Issues, Reason
from kinema_dataset.sidecars import CaptionText, json_sidecar, text_sidecar
from kinema_dataset.tables import rows_of
from kinema_model.source import Captions

METADATA_FILES: Final = ("metadata.jsonl", "metadata.csv")
SIDECAR_ENDINGS: Final = (".json", ".txt")
_RANKS: Final = {".json": 0, ".txt": 1, ".jsonl": 2, ".csv": 3}


@dataclass(frozen=True)
class _Found:
    """A caption and where it was: the smallest of a clip counts."""

    rank: int
    distance: int
    file: str
    text: CaptionText

    def order(self) -> tuple[int, int, str]:
        return self.rank, self.distance, self.file


class CaptionBook:
    """The captions of the clips of a listing, filled file by file in any order.

    `names` are the keys of the clips, with slashes between folders.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.issues = Issues()
        self._found: dict[str, list[_Found]] = {name: [] for name in names}
        self._by_stem: dict[str, list[str]] = {}
        for name in self._found:
            self._by_stem.setdefault(stem(name), []).append(name)

    def add_sidecar(self, file: str, data: bytes) -> None:
        """Take the caption of `NAME.txt` or `NAME.json`, which is for every clip of that name, whatever its ending."""
        clips = self._by_stem.get(stem(file), [])
        read = json_sidecar if ending(file) == ".json" else text_sidecar
        if not clips:
            sentence = "no clip has this name. Rename or delete it."
            self.issues.add(Issue(Reason.OTHER_FILE, file, "", sentence))
            return
        try:
            text = read(file, data)
        except Issue as issue:
            self.issues.add(issue)
            return
        for clip in clips:
            self._found[clip].append(_Found(_RANKS[ending(file)], 0, file, text))

    def add_metadata(self, file: str, data: bytes) -> None:
        """Take the captions of a table whose file names are relative to its folder.

        Raises:
            MetadataUnreadable: the table as a whole says nothing: no file names, no captions, no text at all.
        """
        seen: set[str] = set()
        for row in rows_of(file, data, self.issues.add):
            if row.clip in seen:
                sentence = f"{row.clip!r} has a caption in an earlier row, which counts. Delete one of them."
                self.issues.add(Issue(Reason.DUPLICATE, file, row.at, sentence))
                continue
            seen.add(row.clip)
            found = self._found.get(row.clip)
            if found is None:
                sentence = "no clip has the name in file_name. Correct it, or add the clip."
                self.issues.add(Issue(Reason.OTHER_FILE, file, row.at, sentence))
                continue
            distance = row.clip.count("/") - file.count("/")
            found.append(_Found(_RANKS[ending(file)], distance, file, row.text))

    def add_unreadable(self, file: str, why: MetadataUnreadable) -> None:
        """Count a table that raised, where a caller goes on without it."""
        self.issues.add(Issue(Reason.UNREADABLE, file, "", str(why)))

    def settle(self) -> Mapping[str, Captions]:
        """Captions by name, of the clips that have any; counts those without, and those that several files tell of."""
        settled: dict[str, Captions] = {}
        for name, found in self._found.items():
            if not found:
                sentence = "it has no caption. Add a file of its name that ends in .txt, or let a captioner write one."
                self.issues.add(Issue(Reason.MISSING, name, "", sentence))
                continue
            first, *others = sorted(found, key=_Found.order)
            if any(other.text != first.text for other in others):
                files = ", ".join(other.file for other in others)
                sentence = f"{first.file} tells of it, and so do {files}, which do not count. Keep one of them."
                self.issues.add(Issue(Reason.TWO_SOURCES, name, "", sentence))
            settled[name] = first.text.captions()
        return settled


def stem(name: str) -> str:
    """A key without its ending: what a clip and the file beside it have in common."""
    return name[: len(name) - len(ending(name))]


def ending(name: str) -> str:
    """The last dot of a file's name and what follows, in lower case; empty if there is none."""
    base = name.rpartition("/")[2]
    dot = base.rfind(".")
    return base[dot:].lower() if dot > 0 else ""
