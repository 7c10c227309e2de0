"""A folder as a store: pages and ranges, whatever lies in the folder."""

from __future__ import annotations

import os
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinema_api import folderstore
from kinema_api.errors import RangeMissing, StaleWrite
from kinema_api.folderstore import FolderStore
from kinema_api.objectstore import StoreLocation
from kinema_api.objectstores import open_store

PARTS = st.lists(st.sampled_from(["a", "b", "a-", "a.", "a0", "é", "Z"]), min_size=1, max_size=3)


def folder_store(root: Path) -> FolderStore:
    (root / "bucket").mkdir()
    made = open_store(StoreLocation(endpoint=f"file://{root}", bucket="bucket"), None)
    assert isinstance(made, FolderStore)
    return made


@given(keys=st.lists(PARTS, max_size=12), prefix=st.sampled_from(["", "a", "a/", "a-", "a/b", "b/a/", "none/"]))
def test_pages_are_what_the_list_is(keys: list[list[str]], prefix: str) -> None:
    with TemporaryDirectory() as root, pytest.MonkeyPatch.context() as patch:
        patch.setattr(folderstore, "PAGE", 2)
        store = folder_store(Path(root))
        for parts in keys:
            # Files end in a digit, so that none has the name of a folder.
            store.put("/".join(parts) + "1", b"x")
        pages = list(store.pages(prefix))
        assert list(chain.from_iterable(pages)) == list(store.list(prefix))
        assert all(len(page) == 2 for page in pages[:-1])


def test_a_half_written_file_is_in_no_page(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store.put("a/whole", b"x")
    (tmp_path / "bucket" / "a" / "half.partial").write_bytes(b"x")
    assert [found.key for page in store.pages("") for found in page] == ["a/whole"]


def test_a_range_is_whole_and_of_one_version(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store.put("a", bytes(range(100)))
    found = store.stat("a")
    assert found is not None
    assert store.get_range("a", 90, 10, found.etag) == bytes(range(90, 100))
    with pytest.raises(RangeMissing, match="ends before byte 101"):
        store.get_range("a", 90, 11)
    store.put("a", bytes(100))
    with pytest.raises(StaleWrite, match="changed"):
        store.get_range("a", 0, 1, found.etag)


def test_a_long_file_is_known_by_its_time(tmp_path: Path) -> None:
    store = folder_store(tmp_path)
    store.put("a", bytes(folderstore.HASHED_BYTES + 1))
    found = store.stat("a")
    assert found is not None
    os.utime(tmp_path / "bucket" / "a", (1, 1))
    with pytest.raises(StaleWrite):
        store.get_range("a", 0, 1, found.etag)
