"""The development image of worker pods: nothing but folders, over which the machine's own Python is mounted.

A worker's environment of several gigabytes need not be built into an image for every change of a line.
The mounts come with a RuntimeClass of their own; no other pod of the cluster sees the machine's files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from .command import run
from .images import Image
from .settings import REPOSITORY

REFERENCE = "localhost/kinema/worker-host:dev"
SYSTEM_FOLDERS = ("/usr", "/bin", "/lib", "/lib64", "/sbin", "/etc/ssl", "/etc/alternatives")
PACKAGES = ("operator", "model", "jobs")
HOST_FOLDER = Path("/opt/kinema/host")
"""Where the checkout lies inside: at its own path, a pod's scratch volume at /tmp would hide a checkout below it."""


def environment_folder(checkout: Path = REPOSITORY) -> Path:
    """The checkout's virtual environment."""
    return checkout / ".venv"


def host_mounts(more: Sequence[Path], checkout: Path = REPOSITORY) -> list[Path]:
    """Folders of the machine that a host-python container sees, read-only; `inside` says where.

    Beside the system's: the checkout, its environment where that is a link to elsewhere, and the
    interpreter's home where that is not below /usr.
    """
    environment = environment_folder(checkout).resolve()
    interpreter = (environment / "bin" / "python").resolve()
    home = interpreter.parent.parent if interpreter.exists() else Path(sys.base_prefix)
    wanted = [*map(Path, SYSTEM_FOLDERS), *more, checkout, environment, home]
    mounts: list[Path] = []
    for path in wanted:
        covered = any(path == mount or mount in path.parents for mount in mounts)
        if path.exists() and not covered:
            mounts.append(path)
    return mounts


def inside(path: Path) -> Path:
    """Where a container sees a folder of the machine: the system's and an interpreter's at their own path, which
    links and an environment's `python` point to; any other below HOST_FOLDER."""
    home_of_python = (path / "bin" / "python3").exists() and not (path / "pyvenv.cfg").exists()
    system = any(path == Path(folder) or Path(folder) in path.parents for folder in SYSTEM_FOLDERS)
    return path if system or home_of_python else HOST_FOLDER / path.relative_to("/")


def write_runtime_spec(path: Path, mounts: list[Path]) -> bool:
    """Let host-python containers start from an OCI spec with `mounts`; return whether it had to be written."""
    if set(mounts) <= set(written_mounts(path)):
        return False
    spec = json.loads(run(["ctr", "oci", "spec"]))
    for mount in mounts:
        bind = {"destination": str(inside(mount)), "type": "bind", "source": str(mount), "options": ["rbind", "ro"]}
        spec["mounts"].append(bind)
    path.write_text(json.dumps(spec, indent=1))
    return True


def written_mounts(path: Path) -> list[Path]:
    """The folders that the spec at `path` mounts; none if there is no spec."""
    spec = json.loads(path.read_text()) if path.exists() else {"mounts": []}
    return [Path(mount["source"]) for mount in spec["mounts"] if mount["type"] == "bind"]


def worker_image(mounts: list[Path], checkout: Path = REPOSITORY, reference: str = REFERENCE) -> Image:
    """The image; the folders that mounts need are in it, so that its root can be read-only."""
    folders = ["tmp", "proc", "sys", "dev", "etc", "var/tmp", "run", *(str(inside(mount)) for mount in mounts)]
    return Image(
        reference=reference,
        entrypoint=["python"],
        folders=folders,
        files={"etc/nsswitch.conf": "passwd: files\nhosts: files dns\n"},
        environment={
            "PATH": f"{inside(environment_folder(checkout).resolve())}/bin:/usr/bin:/bin",
            "PYTHONPATH": ":".join(str(inside(checkout / package)) for package in PACKAGES),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": "/tmp",
        },
    )
