"""Builds the images on any Debian machine, without Docker and without a registry.

    python images/build.py             the control plane's image
    python images/build.py --worker    the worker's too (torch with its CUDA libraries: several GB)

Three parts, each done only when its inputs have changed: a root file system by mmdebstrap, the packages of the
pinned wheels (fetched here, so the build itself needs no network), and the image by buildah. The last line of
each image is the path of its archive, which containerd, kind and podman load.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import IO, Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
SUITE: Final = "bookworm"
PYTHON: Final = "3.11"
GLIBC: Final = "2_36"
"""Of the suite: wheels may ask for this glibc or an older one."""
DEBIAN_PACKAGES: Final = ("python3", "ca-certificates", "tzdata", "media-types", "libstdc++6")
UNUSED_PATHS: Final = (
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
    "/usr/share/bash-completion/*",
)
# The addresses of the machine's package mirrors are nobody's business in an image.
FORGOTTEN_PATHS: Final = ("etc/apt/sources.list*", "var/lib/apt/lists", "var/cache/*", "var/log/*")
UNUSED_IN_PACKAGES: Final = (
    "bin",
    "**/__pycache__",
    "**/SelfTest",
    "**/*.pyi",
    "**/.lock",
    "*.dist-info/direct_url.json",
    "*.dist-info/uv_cache.json",
)
CHUNK: Final = 1 << 20
GZIP: Final = 31
"""zlib's way of asking for the gzip format."""


class ImageError(Exception):
    """An image cannot be built; the message says what to do."""


@dataclass(frozen=True)
class Recipe:
    """One image: its folder below images/, what it installs, and which packages of the house it leaves out."""

    name: str
    requirements: str
    left_out: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """Name under which a cluster finds it."""
        return f"localhost/kinema/{self.name}:dev"


CONTROL_PLANE: Final = Recipe(
    "control-plane",
    "requirements/control-plane.txt",
    ("kinema_jobs", "kinema_evaluation", "kinema_dataset", "kinema_world", "kinema_model"),
)
WORKER: Final = Recipe("worker", "requirements/worker.txt", ("kinema_operator", "kinema_cli"))


def cache_folder() -> Path:
    """Folder of everything built here; KINEMA_CACHE moves it."""
    return Path(os.environ.get("KINEMA_CACHE") or Path.home() / ".cache" / "kinema").absolute() / "images"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--worker", action="store_true", help="build the worker's image too")
    parser.add_argument("--size", action="store_true", help="also print the bytes that a registry would send")
    parser.add_argument("--refresh", action="store_true", help="build everything anew, with today's Debian packages")
    arguments = parser.parse_args(argv)
    try:
        require_programs(("mmdebstrap", "buildah", "uv"))
        for recipe in (CONTROL_PLANE, *((WORKER,) if arguments.worker else ())):
            archive = build(recipe, cache_folder(), refresh=arguments.refresh)
            if arguments.size:
                say(f"{recipe.tag}: {compressed_size(archive) >> 20} MiB compressed")
            print(archive, flush=True)
    except ImageError as error:
        print(f"images: {error}", file=sys.stderr)
        return 1
    return 0


def build(recipe: Recipe, cache: Path, *, refresh: bool = False) -> Path:
    """Make an image unless it is there already; returns its archive.

    Raises:
        ImageError: a part failed; quotes its last words.
    """
    with alone(cache, SUITE):
        rootfs = ensure_rootfs(cache, refresh=refresh)
    with alone(cache, recipe.name):
        return _build(recipe, cache, rootfs, refresh=refresh)


def _build(recipe: Recipe, cache: Path, rootfs: Path, *, refresh: bool) -> Path:
    archive, stamp = cache / f"{recipe.name}.tar", cache / f"{recipe.name}.json"
    content = content_hash(recipe, rootfs.name)
    if not refresh and archive.exists() and stamp.exists() and json.loads(stamp.read_text())["content"] == content:
        say(f"{recipe.tag}: unchanged")
        return archive
    context = cache / f"{recipe.name}-context"
    with part(f"{recipe.name}: packages of {recipe.requirements}"):
        assemble(recipe, context, content)
    # Written after the archive: an interrupted build is done again.
    stamp.unlink(missing_ok=True)
    with part(f"{recipe.name}: image"):
        bake(recipe, context, rootfs, archive, cache / f"{recipe.name}-storage")
    shutil.rmtree(context)
    say(f"{recipe.tag}: {archive.stat().st_size >> 20} MiB")
    stamp.write_text(json.dumps({"content": content}))
    return archive


def content_hash(recipe: Recipe, rootfs: str) -> str:
    """Hash of everything that an image is made from, by content and not by time."""
    inputs = [REPOSITORY / recipe.requirements, REPOSITORY / "pyproject.toml", Path(__file__)]
    inputs.append(REPOSITORY / "images" / recipe.name / "Containerfile")
    for package in house_packages():
        if package.name not in recipe.left_out:
            inputs.extend(p for p in sorted(package.rglob("*")) if p.is_file() and "__pycache__" not in p.parts)
    digest = hashlib.sha256(rootfs.encode())
    for path in inputs:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(REPOSITORY)}\0{len(content)}\0".encode() + content)
    return f"sha256:{digest.hexdigest()}"


def house_packages() -> list[Path]:
    """Folders of the packages that the distribution consists of."""
    targets = _pyproject()["tool"]["hatch"]["build"]["targets"]
    return [REPOSITORY / folder for folder in targets["wheel"]["packages"]]


def ensure_rootfs(cache: Path, *, refresh: bool = False) -> Path:
    """A Debian root file system with Python, as a tar, named by what it was made of.

    Raises:
        ImageError: mmdebstrap failed.
    """
    wanted = repr((SUITE, DEBIAN_PACKAGES, UNUSED_PATHS, FORGOTTEN_PATHS))
    path = cache / f"debian-{SUITE}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}.tar"
    if path.exists() and not refresh:
        return path
    partial = path.with_suffix(".partial.tar")
    forget = "rm -rf " + " ".join(f'"$1"/{name}' for name in FORGOTTEN_PATHS)
    command = ["mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(DEBIAN_PACKAGES)}"]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in UNUSED_PATHS]
    command += [f"--customize-hook={forget}", SUITE, str(partial), *map(str, apt_sources())]
    with part(f"Debian {SUITE} with Python {PYTHON}"):
        try:
            run(command)
        except ImageError:
            partial.unlink(missing_ok=True)
            raise
    partial.rename(path)
    return path


def apt_sources(folder: Path = Path("/etc/apt")) -> list[Path]:
    """The machine's own package sources where they offer the suite; else none, and Debian's are used."""
    candidates = [folder / "sources.list", *sorted((folder / "sources.list.d").glob("*"))]
    files = [file for file in candidates if file.suffix in (".list", ".sources") and file.is_file()]
    offers = re.compile(rf"^(Suites:.*|deb\s.*)\b{SUITE}\b", re.MULTILINE)
    return [file for file in files if offers.search(file.read_text())]


def assemble(recipe: Recipe, context: Path, content: str) -> None:
    """Write the build context: installed packages, the image's name, the Containerfile.

    Raises:
        ImageError: a wheel could not be had, or has no form for this platform.
    """
    shutil.rmtree(context, ignore_errors=True)
    packages = context / "packages"
    target = ["--target", str(packages), "--python-version", PYTHON]
    target += ["--python-platform", f"{platform.machine()}-manylinux_{GLIBC}", "--only-binary", ":all:"]
    install = ["uv", "pip", "install", "--quiet", "--link-mode=copy", *target]
    run([*install, "--require-hashes", "-r", str(REPOSITORY / recipe.requirements)])
    wheels = context / "wheels"
    run(["uv", "build", "--quiet", "--wheel", "--out-dir", str(wheels), str(REPOSITORY)])
    run([*install, "--no-deps", *map(str, wheels.glob("*.whl"))])
    shutil.rmtree(wheels)
    prune(packages, recipe.left_out)
    about = {"name": recipe.name, "version": project_version(), "content": content}
    (context / "opt" / "kinema").mkdir(parents=True)
    (context / "opt" / "kinema" / "IMAGE").write_text(json.dumps(about) + "\n")
    shutil.copy(REPOSITORY / "images" / recipe.name / "Containerfile", context / "Containerfile")
    for path in context.rglob("*"):
        path.chmod(0o755 if path.is_dir() else path.stat().st_mode | 0o444)


def prune(packages: Path, left_out: Iterable[str]) -> None:
    """Remove what nothing in a pod reads: scripts for another interpreter, stubs, self tests, other packages."""
    for pattern in (*UNUSED_IN_PACKAGES, *left_out):
        for path in list(packages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def bake(recipe: Recipe, context: Path, rootfs: Path, archive: Path, storage: Path) -> None:
    """Turn root file system and context into an archive.

    The storage keeps the base between builds, so its layer stays the same bytes and is not loaded into nodes again.

    Raises:
        ImageError: buildah failed.
    """
    partial = archive.with_suffix(".partial.tar")
    partial.unlink(missing_ok=True)
    base = f"localhost/kinema/{rootfs.stem}"
    try:
        if not buildah(storage, "images", "--quiet", "--filter", f"reference={base}").strip():
            made = buildah(storage, "from", "scratch").strip()
            buildah(storage, "add", "--quiet", made, str(rootfs), "/")
            buildah(storage, "commit", "--quiet", "--rm", "--timestamp", "0", made, base)
        bud = ["bud", "--quiet", "--pull-never", "--build-arg", f"BASE={base}", "--tag", recipe.tag]
        buildah(storage, *bud, "--timestamp", "0", str(context))
        buildah(storage, "push", "--quiet", recipe.tag, f"docker-archive:{partial}:{recipe.tag}")
        buildah(storage, "rmi", "--force", recipe.tag)
    except BaseException:
        shutil.rmtree(storage, ignore_errors=True)
        raise
    partial.rename(archive)


def buildah(storage: Path, *arguments: str) -> str:
    """Run buildah without a daemon, without user namespaces and with a storage of its own.

    Raises:
        ImageError: it failed; quotes its last words.
    """
    environment = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
    return run(["buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run"), *arguments], environment)


def compressed_size(archive: Path) -> int:
    """Bytes of an archive's layers as a registry would send them (gzip)."""
    total = 0
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.isfile() and (layer := tar.extractfile(member)) is not None:
                total += _gzipped(layer)
    return total


def _gzipped(source: IO[bytes]) -> int:
    packer = zlib.compressobj(wbits=GZIP)
    total = 0
    while chunk := source.read(CHUNK):
        total += len(packer.compress(chunk))
    return total + len(packer.flush())


def require_programs(names: Iterable[str]) -> None:
    """Raise unless every program is on the path.

    Raises:
        ImageError: naming those that are missing.
    """
    missing = [name for name in names if shutil.which(name) is None]
    if missing:
        raise ImageError(
            f"{', '.join(missing)} not found; install them (apt-get install mmdebstrap buildah skopeo; uv)"
        )


def run(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """Run a program to its end and return its standard output.

    Raises:
        ImageError: it failed; quotes its last words.
    """
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        words = (result.stderr.strip() or result.stdout.strip())[-1500:]
        raise ImageError(f"`{' '.join(command[:4])} ...` failed; mend the cause and try again: {words}")
    return result.stdout


def project_version() -> str:
    """Version of the distribution, which the images carry."""
    return str(_pyproject()["project"]["version"])


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


@contextmanager
def alone(cache: Path, name: str) -> Iterator[None]:
    """Nobody else makes `name` in this cache meanwhile: demo, tests and a person may all ask at once."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as handle:
        flock(handle, LOCK_EX)
        yield


@contextmanager
def part(name: str) -> Iterator[None]:
    """Print a part's name as it starts and its seconds when it is done."""
    say(f"{name} ...")
    started = time.monotonic()
    yield
    say(f"{name}: {time.monotonic() - started:.1f} s")


def say(text: str) -> None:
    """Print one line at once, away from the standard output, which holds the archives' paths."""
    print(f"[images] {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
