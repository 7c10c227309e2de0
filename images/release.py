"""Publishes what a tag names: images for each processor, one index over them, the chart that installs them.

    python images/release.py images     on a machine of each processor: build, push, attach the list of contents
    python images/release.py publish    once, after that: an index over each image, and the chart with these images
                                        by digest, signed, with provenance; signatures of the files in dist/

KINEMA_REGISTRY says where (HOST/PATH), KINEMA_REGISTRY_USER and KINEMA_REGISTRY_PASSWORD as whom. Signatures are
cosign's, without a key where the job has an identity (OIDC), else with the key file KINEMA_COSIGN_KEY, which leaves no
public record.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import build
import provenance
import sbom

PROCESSORS: Final = {"x86_64": "amd64", "aarch64": "arm64"}
RECIPES: Final = (build.CONTROL_PLANE, build.WORKER)
DIST: Final = build.REPOSITORY / "dist"
"""Where `make wheel` leaves the wheel, and a release its chart."""
CLUSTER_TOOL: Final = build.REPOSITORY / "dev" / "cluster"
IDENTITIES: Final = ("KINEMA_COSIGN_KEY", "ACTIONS_ID_TOKEN_REQUEST_URL", "SIGSTORE_ID_TOKEN")
LOOPBACK: Final = re.compile(r"(localhost|127\.0\.0\.1)[:/]")


@dataclass(frozen=True)
class Release:
    """What is published, where, and with which files of credentials."""

    version: str
    registry: str
    folder: Path
    environment: Mapping[str, str]

    def image(self, recipe: build.Recipe) -> str:
        """Name of an image, without tag."""
        return f"{self.registry}/kinema/{recipe.name}"

    @property
    def plain(self) -> bool:
        """Whether the registry is one of a rehearsal, which has no TLS."""
        return LOOPBACK.match(self.registry) is not None

    def run(self, program: str, *arguments: str) -> str:
        """Run a program that finds the registry's credentials; returns all that it prints.

        Raises:
            build.ImageError: it failed; quotes its last words.
        """
        done = subprocess.run(
            [program, *arguments],
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise build.ImageError(
                f"`{Path(program).name} {' '.join(arguments[:3])} ...`: {done.stdout.strip()[-1500:]}"
            )
        return done.stdout

    def cosign(self, verb: str, subject: str, *options: str) -> None:
        """Sign something, or attest to it."""
        key = os.environ.get("KINEMA_COSIGN_KEY")
        how = ["--key", key, "--tlog-upload=false"] if key else []
        self.run(_tool("cosign"), verb, "--yes", *how, *options, subject)

    def attest(self, subject: str, kind: str, predicate: Mapping[str, Any]) -> None:
        """Attach a signed statement about something in the registry."""
        file = self.folder / "predicate.json"
        file.write_text(json.dumps(predicate))
        self.cosign("attest", subject, "--type", kind, "--predicate", str(file))


def push_images(release: Release) -> None:
    """Build this machine's images, push them, attach what they hold."""
    processor = PROCESSORS[platform.machine()]
    for recipe in RECIPES:
        archive = build.build(recipe, build.cache_folder())
        name, digest = f"{release.image(recipe)}:{release.version}-{processor}", release.folder / "digest"
        tls = [f"--dest-tls-verify={str(not release.plain).lower()}"]
        source = f"docker-archive:{archive}:{recipe.tag}"
        release.run(
            "skopeo", "copy", "--quiet", "--format=oci", *tls, f"--digestfile={digest}", source, f"docker://{name}"
        )
        contents = sbom.document(release.image(recipe), release.version, archive)
        release.attest(f"{release.image(recipe)}@{digest.read_text().strip()}", "cyclonedx", contents)
        build.say(f"{name}: {len(contents['components'])} packages listed")


def push_indexes(release: Release, processors: Sequence[str]) -> dict[str, str]:
    """Join the images of all processors; returns the digest of each index by the image's name."""
    digests = {}
    tls = f"--tls-verify={str(not release.plain).lower()}"
    storage = release.folder / "storage"
    for recipe in RECIPES:
        name, digest = release.image(recipe), release.folder / "digest"
        joined = f"localhost/{recipe.name}:{release.version}"
        buildah = ("buildah", "--root", str(storage / "root"), "--runroot", str(storage / "run"), "manifest")
        release.run(*buildah, "create", joined)
        for processor in processors:
            release.run(*buildah, "add", tls, joined, f"docker://{name}:{release.version}-{processor}")
        target = f"docker://{name}:{release.version}"
        release.run(*buildah, "push", "--all", "--format=oci", tls, f"--digestfile={digest}", joined, target)
        digests[recipe.name] = digest.read_text().strip()
        subject = f"{name}@{digests[recipe.name]}"
        release.cosign("sign", subject, "--recursive")
        release.attest(subject, provenance.PREDICATE_TYPE, provenance.predicate(os.environ))
        build.say(subject)
    return digests


def push_chart(release: Release, digests: Mapping[str, str], out: Path) -> Path:
    """Package the chart with a release's images and push it; returns the package."""
    chart = release.folder / "kinema"
    shutil.copytree(build.REPOSITORY / "charts" / "kinema", chart)
    for name in ("values.yaml", "README.md"):
        file = chart / name
        file.write_text(with_images(file.read_text(), release, digests))
    helm = _tool("helm")
    release.run(helm, "package", str(chart), "--destination", str(out))
    package = out / f"kinema-{release.version}.tgz"
    where = f"{release.registry}/kinema/charts"
    said = release.run(helm, "push", str(package), f"oci://{where}", *(["--plain-http"] if release.plain else []))
    subject = f"{where}/kinema@{re.findall(r'sha256:[0-9a-f]{64}', said)[-1]}"
    release.cosign("sign", subject)
    release.attest(subject, provenance.PREDICATE_TYPE, provenance.predicate(os.environ))
    build.say(subject)
    return package


def sign_files(release: Release, files: Sequence[Path]) -> None:
    """Lay a bundle, which `cosign verify-blob` takes, beside each file."""
    for file in files:
        release.cosign("sign-blob", str(file), "--bundle", f"{file}.bundle")


def with_images(text: str, release: Release, digests: Mapping[str, str]) -> str:
    """A file of the chart with a release's images instead of those that are built on a developer's machine.

    Raises:
        build.ImageError: it names none of them.
    """
    for recipe in RECIPES:
        if recipe.tag not in text:
            raise build.ImageError(f"The chart does not name {recipe.tag} any more; correct images/release.py.")
        text = text.replace(recipe.tag, f"{release.image(recipe)}:{release.version}@{digests[recipe.name]}")
    return text


def version_of(tag: str | None) -> str:
    """The version that is released, which a tag must name.

    Raises:
        build.ImageError: the tag names another one.
    """
    version = build.project_version()
    if tag is not None and tag != f"v{version}":
        raise build.ImageError(f"The tag {tag} does not name version {version} of pyproject.toml; tag v{version}.")
    return version


def publish(release: Release, processors: Sequence[str]) -> None:
    """Everything that is done once.

    Raises:
        build.ImageError: a part failed, or the environment does not tell where this comes from.
    """
    if lacking := provenance.missing(os.environ):
        raise build.ImageError(f"No provenance without {', '.join(lacking)}; publish from a workflow, or set them.")
    DIST.mkdir(exist_ok=True)
    chart = push_chart(release, push_indexes(release, processors), DIST)
    sign_files(release, [chart, *DIST.glob(f"kinema-{release.version}-*.whl")])


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("images", "publish"))
    parser.add_argument("--processors", nargs="+", default=list(PROCESSORS.values()), help="of which images are joined")
    arguments = parser.parse_args(argv)
    needed = {"images": ("skopeo", "mmdebstrap", "buildah", "uv"), "publish": ("buildah",)}
    try:
        build.require_programs(needed[arguments.what])
        with prepared(os.environ) as release:
            push_images(release) if arguments.what == "images" else publish(release, arguments.processors)
    except build.ImageError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


@contextmanager
def prepared(environment: Mapping[str, str]) -> Iterator[Release]:
    """A release as the environment describes it; its folder, with the credentials, goes at the end.

    Raises:
        build.ImageError: something is missing; says what to set.
    """
    registry = environment.get("KINEMA_REGISTRY", "").strip("/")
    if not registry:
        raise build.ImageError("Nowhere to publish; set KINEMA_REGISTRY to HOST or HOST/PATH.")
    if not any(environment.get(name) for name in IDENTITIES):
        raise build.ImageError(
            f"Nobody to sign as; give the job id-token: write, or set {IDENTITIES[0]} to a key file."
        )
    tag = environment.get("GITHUB_REF_NAME") if environment.get("GITHUB_REF_TYPE") == "tag" else None
    version = version_of(tag)
    with tempfile.TemporaryDirectory(prefix="kinema-release-") as folder:
        yield Release(version, registry, Path(folder), credentials(registry, Path(folder), environment))


def credentials(registry: str, folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Write a user's credentials where skopeo, buildah, Helm and cosign look; none where no user is named."""
    user, password = environment.get("KINEMA_REGISTRY_USER"), environment.get("KINEMA_REGISTRY_PASSWORD")
    if not user or not password:
        return {}
    file = folder / "config.json"
    file.touch(mode=0o600)
    auth = base64.b64encode(f"{user}:{password}".encode()).decode()
    file.write_text(json.dumps({"auths": {registry.split("/", 1)[0]: {"auth": auth}}}))
    return {"REGISTRY_AUTH_FILE": str(file), "HELM_REGISTRY_CONFIG": str(file), "DOCKER_CONFIG": str(folder)}


def _tool(name: str) -> str:
    """Path of a program that is built from Go modules."""
    return build.run([sys.executable, str(CLUSTER_TOOL), "path", name]).strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
