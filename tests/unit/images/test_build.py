"""What the image builder decides without building: when to build, which sources, what is left out, what is counted."""

from __future__ import annotations

import gzip
import importlib.util
import io
import json
import os
import sys
import tarfile
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


def load_builder() -> ModuleType:
    """images/build.py, which is a program and no package."""
    spec = importlib.util.spec_from_file_location("kinema_images_build", REPOSITORY / "images" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


builder = load_builder()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small repository with everything that an image is made from."""
    packages = ["operator/kinema_operator", "jobs/kinema_jobs"]
    files = {
        "pyproject.toml": f"[tool.hatch.build.targets.wheel]\npackages = {json.dumps(packages)}\n",
        "requirements/control-plane.txt": "kopf==1\n",
        "images/control-plane/Containerfile": "FROM base\n",
        "operator/kinema_operator/main.py": "print(1)\n",
        "jobs/kinema_jobs/train.py": "print(2)\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(builder, "REPOSITORY", tmp_path)
    monkeypatch.setattr(builder, "__file__", str(tmp_path / "pyproject.toml"))
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "pyproject.toml",
        "requirements/control-plane.txt",
        "images/control-plane/Containerfile",
        "operator/kinema_operator/main.py",
    ],
)
def test_an_input_that_changes_makes_another_image(name: str, checkout: Path) -> None:
    before = builder.content_hash(builder.CONTROL_PLANE, "base")
    (checkout / name).write_text((checkout / name).read_text() + "\n")
    assert builder.content_hash(builder.CONTROL_PLANE, "base") != before


def test_another_base_makes_another_image(checkout: Path) -> None:
    hashes = {builder.content_hash(builder.CONTROL_PLANE, base) for base in ("base", "other")}
    assert len(hashes) == 2


def test_times_byte_code_and_what_is_left_out_make_no_other_image(checkout: Path) -> None:
    before = builder.content_hash(builder.CONTROL_PLANE, "base")
    os.utime(checkout / "operator/kinema_operator/main.py", (1, 1))
    (checkout / "operator/kinema_operator/__pycache__").mkdir()
    (checkout / "operator/kinema_operator/__pycache__/main.pyc").write_bytes(b"code")
    (checkout / "jobs/kinema_jobs/train.py").write_text("print(3)\n")
    assert builder.content_hash(builder.CONTROL_PLANE, "base") == before


@pytest.mark.parametrize(
    ("name", "text", "offers"),
    [
        ("debian.sources", "Types: deb\nURIs: http://mirror/debian\nSuites: bookworm bookworm-updates\n", True),
        ("security.list", "deb http://mirror/security bookworm-security main\n", True),
        ("other.sources", "Types: deb\nURIs: http://mirror/other\nSuites: nodistro\n", False),
        ("commented.list", "# deb http://mirror/debian bookworm main\n", False),
        ("debian.sources.disabled", "Suites: bookworm\n", False),
    ],
)
def test_the_machines_own_sources_are_used_where_they_offer_the_suite(
    name: str, text: str, offers: bool, tmp_path: Path
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    file = tmp_path / "sources.list.d" / name
    file.write_text(text)
    assert builder.apt_sources(tmp_path) == ([file] if offers else [])


def test_what_no_pod_reads_is_left_out(tmp_path: Path) -> None:
    kept = ["kopf/main.py", "kopf/py.typed", "kinema_api/names.py", "Crypto/Cipher.so"]
    dropped = ["bin/kopf", "kopf/__pycache__/main.pyc", "Crypto/SelfTest/test.py", "yarl/url.pyi", "kinema_jobs/a.py"]
    for name in (*kept, *dropped):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    builder.prune(tmp_path, builder.CONTROL_PLANE.left_out)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)


def test_layers_are_counted_as_a_registry_would_send_them(tmp_path: Path) -> None:
    layers = [bytes(100_000), os.urandom(100_000)]
    archive = tmp_path / "image.tar"
    with tarfile.open(archive, "w") as tar:
        for index, layer in enumerate(layers):
            info = tarfile.TarInfo(f"{index}.tar")
            info.size = len(layer)
            tar.addfile(info, io.BytesIO(layer))
    expected = sum(len(gzip.compress(layer, 6)) for layer in layers)
    assert builder.compressed_size(archive) == pytest.approx(expected, abs=100)


def test_a_missing_program_is_named_with_how_to_get_it() -> None:
    with pytest.raises(builder.ImageError, match="no-such-program not found; install"):
        builder.require_programs(("no-such-program",))


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(builder.ImageError, match="out of paint"):
        builder.run(["sh", "-c", "echo out of paint >&2; exit 3"])


@pytest.mark.parametrize("recipe", [builder.CONTROL_PLANE, builder.WORKER], ids=lambda recipe: recipe.name)
def test_every_recipe_names_files_that_exist(recipe: object) -> None:
    assert (REPOSITORY / recipe.requirements).is_file()  # type: ignore[attr-defined]
    assert (REPOSITORY / "images" / recipe.name / "Containerfile").is_file()  # type: ignore[attr-defined]
    present = {folder.name for folder in builder.house_packages()}
    assert set(recipe.left_out) < present  # type: ignore[attr-defined]


def test_no_torch_is_among_the_control_planes_requirements() -> None:
    names = {line.split("==")[0] for line in (REPOSITORY / builder.CONTROL_PLANE.requirements).read_text().splitlines()}
    assert "kopf" in names
    assert not names & {"torch", "numpy", "pytorch-lightning", "av"}
