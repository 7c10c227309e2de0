"""Every relative link, anchor and path that the documents name exists, and the site's contents list every page."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
DOCS = REPOSITORY / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FRONT = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "charts/kinema/README.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(r"`((?:docs|manifests|charts|requirements|images|tests)/[\w./-]+)`")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
MODULES = [
    str(path.relative_to(REPOSITORY))
    for folder in ("operator", "model", "jobs", "dev", "images", "tests", "demo", ".githooks")
    for path in (REPOSITORY / folder).rglob("*.py")
]


def prose(page: Path) -> str:
    """A page without what is shown as it is."""
    return FENCE.sub("", page.read_text())


@cache
def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them; mkdocs.yml asks for the same."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def fault(page: Path, target: str) -> str | None:
    """What is wrong with a link of a page."""
    path, _, anchor = unquote(target).partition("#")
    there = (page.parent / path).resolve() if path else page
    if not there.exists():
        return f"{target}: there is no such file"
    if anchor and anchor not in anchors(there):
        return f"{target}: there is no such heading; {there.name} has {', '.join(sorted(anchors(there)))}"
    return None


@pytest.mark.parametrize("page", [*FRONT, *PAGES], ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = [target for target in LINK.findall(prose(page)) if not re.match(r"[a-z]+:", target)]
    assert [found for target in targets if (found := fault(page, target))] == []


@pytest.mark.parametrize("page", [*FRONT, *PAGES], ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_paths_are_those_of_files(page: Path) -> None:
    assert [path for path in PATH.findall(prose(page)) if not (REPOSITORY / path).exists()] == []


@pytest.mark.parametrize("page", [*FRONT, *PAGES], ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_modules_that_a_page_names_are_there(page: Path) -> None:
    """A page may leave out the folders that its text has named; CHANGES tells of what was."""
    named = set(re.findall(r"`([\w/.-]+\.py)(?=[`, (])", page.read_text()))
    assert {name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in MODULES)} == set()


def test_pages_of_the_site_link_to_pages_of_the_site() -> None:
    """What lies outside docs/ is not on the site; such a path is named, not linked."""
    outside = [
        f"{page.name}: {target}"
        for page in PAGES
        for target in LINK.findall(prose(page))
        if not re.match(r"[a-z]+:|#", target) and DOCS not in (page.parent / target).resolve().parents
    ]
    assert outside == []


def test_the_contents_of_the_site_list_every_page() -> None:
    contents = (REPOSITORY / "mkdocs.yml").read_text().split("\nnav:\n", 1)[1]
    listed = re.findall(r"[\w/-]+\.md", contents)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in PAGES)


def test_a_lost_heading_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# `step`: seconds, and more\n## Twice\n## Twice\n")
    assert anchors(page) == {"step-seconds-and-more", "twice", "twice-1"}
    assert fault(page, "#twice-1") is None
    assert "no such heading" in str(fault(page, "#thrice"))
    assert "no such file" in str(fault(page, "other.md"))
