"""Image archives: what is written, and how a node is asked whether it has it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from cluster.errors import ClusterError
from cluster.images import Image, holds, image_identities
from cluster.worker_image import host_mounts, inside, worker_image


def image(tmp_path: Path, content: str = "#!/bin/sh\n") -> Image:
    program = tmp_path / "program"
    program.write_text(content)
    return Image("localhost/kinema/x:dev", ["/program"], programs={"program": program}, folders=("tmp", "a/b"))


def layer_members(archive: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(archive) as outer:
        member = outer.extractfile("layer.tar")
        assert member is not None
        with tarfile.open(fileobj=member) as layer:
            return {info.name: info for info in layer}


def test_same_content_is_the_same_digest(tmp_path: Path) -> None:
    one, two = image(tmp_path).write(tmp_path / "1.tar"), image(tmp_path).write(tmp_path / "2.tar")
    assert image_identities(one) == image_identities(two)


def test_other_content_is_another_digest(tmp_path: Path) -> None:
    one = image_identities(image(tmp_path).write(tmp_path / "1.tar"))
    assert one != image_identities(image(tmp_path, "changed").write(tmp_path / "2.tar"))


def test_layer_holds_folders_with_their_parents_and_executable_programs(tmp_path: Path) -> None:
    members = layer_members(image(tmp_path).write(tmp_path / "1.tar"))
    assert {"tmp", "a", "a/b", "program"} == members.keys()
    assert (members["tmp"].mode, members["program"].mode) == (0o1777, 0o755)


def test_identity_of_an_oci_layout(tmp_path: Path) -> None:
    manifest = json.dumps({"config": {"digest": "sha256:cafe"}})
    blob = tmp_path / "blobs/sha256/beef"
    blob.parent.mkdir(parents=True)
    blob.write_text(manifest)
    notes = {"org.opencontainers.image.ref.name": "localhost/kinema/y:dev"}
    (tmp_path / "index.json").write_text(json.dumps({"manifests": [{"digest": "sha256:beef", "annotations": notes}]}))
    archive = tmp_path / "oci.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tmp_path / "index.json", "index.json")
        tar.add(blob, "blobs/sha256/beef")
    assert image_identities(archive) == {"localhost/kinema/y:dev": "sha256:cafe"}


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_text("no archive")
    with pytest.raises(ClusterError, match="write it anew"):
        image_identities(tmp_path / "x.tar")


LISTING = """REF TYPE DIGEST SIZE PLATFORMS LABELS
localhost/kinema/x:dev application/vnd sha256:m1 1 MiB linux/amd64 -
sha256:c1 application/vnd sha256:m1 1 MiB linux/amd64 -
sha256:c0 application/vnd sha256:m0 1 MiB linux/amd64 -
"""


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"localhost/kinema/x:dev": "sha256:c1"}, True),
        ({"localhost/kinema/x:dev": "sha256:c0"}, False),
        ({"localhost/kinema/x:dev": "sha256:new"}, False),
        ({"localhost/kinema/y:dev": "sha256:c1"}, False),
    ],
)
def test_a_node_holds_an_image_only_at_the_wanted_configuration(wanted: dict[str, str], expected: bool) -> None:
    assert holds(LISTING, wanted) is expected


def test_worker_image_has_a_folder_for_every_mount(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / ".venv").mkdir(parents=True)
    mounts = host_mounts([], checkout)
    archive = worker_image(mounts, checkout, "localhost/kinema/w:dev").write(tmp_path / "w.tar")
    folders = layer_members(archive).keys()
    assert {str(inside(mount)).strip("/") for mount in mounts} <= folders
    assert not any(inside(mount).is_relative_to("/tmp") for mount in mounts), "a scratch volume would hide it"
    assert checkout in mounts


def test_an_environment_elsewhere_is_mounted_too(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "checkout").mkdir()
    (tmp_path / "checkout/.venv").symlink_to(tmp_path / "shared")
    assert tmp_path / "shared" in host_mounts([], tmp_path / "checkout")
