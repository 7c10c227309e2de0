"""Where every artefact lies in the bucket: each key format is defined here and nowhere else.

    trainings/<namespace>/<name>/<uid>/run-NNN/
        prepared.json prepared.html   the datasets that recorded clips became (kinema_api.prepare), and a report
    trainings/<namespace>/<name>/<uid>/run-NNN/attempt-NNN/
        head.json                   what is committed (kinema_api.head); changed by conditional writes alone
        step-NNNNNNNN/round-NNNN/   *.distcp .metadata manifest.json   (then the head names it)
        samples/step-NNNNNNNN/prompt-N/   clips made during training, not reviewed
        export/round-NNNN/          config.json *.safetensors kinema.json world.json card.md
                                    manifest.json   (then the head names it)
        evaluation/                 report.json report.html result.json manifest.json   (manifest last)
    models/<digest>/                manifest.json and the files it names, copied from export/ by the control plane
    generations/<namespace>/<uid>/  video.mp4 thumbnail.webp spritesheet.webp request.json   (committed)
        commit.json                 what was committed, for a cluster that is restored without statuses
        inputs/                     copies of its inputs; deleted when it ends
        attempt-NNN/                files that a server has uploaded
    inputs/<namespace>/             uploads of clients: inputs of generations, clips to train on, folders of weights
    shared/                         the same for every namespace; only administrators write here
    datasets/<namespace>/<folder>/  what was prepared of one prefix with the same settings; the folder's name is of both
        parts/<unit>.json           the outcome of one input, whoever prepared it; never changed
        shards/<sha256>.safetensors clips of one input, shared by all datasets of the folder; never changed
        sums/<inputs>.json          what the same inputs became before, so that nothing of it is done again
        <digest>/                   a dataset: index.jsonl dataset.json   (dataset.json last, which names the folder);
                                    never changed

The paths of checkpoints and exports contain the round, so that a delayed trainer of an older round never overwrites
files of a newer one. The head names a round before the round writes anything, so no two rounds of an attempt have the
same number, not even those of two rendezvous services.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

MANIFEST: Final = "manifest.json"
HEAD: Final = "head.json"
EXPORT_FOLDER: Final = "export/"
_CHECKPOINT = re.compile(r"step-(\d{8})/round-(\d{4,})/manifest\.json$")

REPORT_PAGE: Final = "report.html"
EVALUATION_RESULT: Final = "result.json"
"""kinema_api.wire.EvaluationResult."""

PREPARED: Final = "prepared.json"
"""kinema_api.prepare.PrepareResult."""
PREPARED_PAGE: Final = "prepared.html"
DATASET_PARTS: Final = "parts/"
DATASET_SHARDS: Final = "shards/"
DATASET_SUMS: Final = "sums/"
SHARED: Final = "shared/"
"""Prefix that every namespace may read."""

VIDEO: Final = "video.mp4"
THUMBNAIL: Final = "thumbnail.webp"
SPRITESHEET: Final = "spritesheet.webp"
REQUEST: Final = "request.json"


@dataclass(frozen=True)
class Artefact:
    """Content type and size limit of a file of a clip, so that no browser opens it as a page."""

    content_type: str
    max_bytes: int


ARTEFACTS: Final = {
    VIDEO: Artefact("video/mp4", 8 << 30),  # an hour at 18 Mbit/s
    THUMBNAIL: Artefact("image/webp", 16 << 20),
    SPRITESHEET: Artefact("image/webp", 512 << 20),  # a WebP has 16,383 pixels on a side at most
    REQUEST: Artefact("application/json", 16 << 20),
}
"""The files that a server uploads, in the order of upload."""
COMMIT: Final = "commit.json"
"""What was committed, and from which attempt (kinema_operator.generation.record)."""


def training_prefix(namespace: str, name: str, uid: str) -> str:
    """Prefix of everything that a training writes; its credentials are scoped to it."""
    return f"trainings/{namespace}/{name}/{uid}/"


def run_prefix(namespace: str, name: str, uid: str, run: int) -> str:
    """Prefix of everything that one run of a training writes."""
    return f"{training_prefix(namespace, name, uid)}run-{run:03d}/"


def attempt_prefix(namespace: str, name: str, uid: str, run: int, attempt: int) -> str:
    """Prefix of everything that one attempt of a run writes."""
    return f"{run_prefix(namespace, name, uid, run)}attempt-{attempt:03d}/"


def head_key(attempt_prefix: str) -> str:
    """The head of an attempt."""
    return attempt_prefix + HEAD


def checkpoint_prefix(attempt_prefix: str, step: int, round_: int) -> str:
    """Folder of one checkpoint, written in one round of an attempt."""
    return f"{attempt_prefix}step-{step:08d}/round-{round_:04d}/"


def parse_checkpoint_manifest(key: str) -> tuple[int, int] | None:
    """(step, round) of a checkpoint manifest's key, or None for any other key."""
    found = _CHECKPOINT.search(key)
    return (int(found[1]), int(found[2])) if found else None


def sample_prefix(attempt_prefix: str, step: int, number: int) -> str:
    """Folder of the clip that an attempt makes of its prompt `number`, from 0, after so many steps."""
    return f"{attempt_prefix}samples/step-{step:08d}/prompt-{number}/"


def export_prefix(attempt_prefix: str, round_: int | None = None) -> str:
    """Folder of the model that a round of an attempt exports; attempts of older versions have no round in it."""
    below = "" if round_ is None else f"round-{round_:04d}/"
    return f"{attempt_prefix}{EXPORT_FOLDER}{below}"


def evaluation_prefix(attempt_prefix: str) -> str:
    """Folder of the report on an attempt's model."""
    return f"{attempt_prefix}evaluation/"


def model_prefix(digest: str) -> str:
    """Folder of a published model; `digest` as `sha256:<hex>`."""
    return f"models/{digest.removeprefix('sha256:')}/"


def inputs_prefix(namespace: str) -> str:
    """Folder of a namespace's uploads, which generations of the namespace may use as inputs."""
    return f"inputs/{namespace}/"


def readable_prefixes(namespace: str) -> tuple[str, ...]:
    """Prefixes of the operator's own store that resources of a namespace may name as clips or as folders of weights."""
    return inputs_prefix(namespace), SHARED


def datasets_prefix(namespace: str) -> str:
    """Folder of a namespace's prepared datasets."""
    return f"datasets/{namespace}/"


def dataset_folder(namespace: str, key: str) -> str:
    """Folder of what one prefix became with one choice of settings; `key` is hexadecimal."""
    return f"{datasets_prefix(namespace)}{key}/"


def dataset_prefix(folder: str, digest: str) -> str:
    """Folder of a dataset; `digest` is that of its dataset.json in hexadecimal."""
    return f"{folder}{digest[:16]}/"


def dataset_rights(prefix: str) -> str:
    """The prefix that a reader of the dataset at `prefix` must be allowed to read: its folder, where its shards lie."""
    return prefix.rstrip("/").rpartition("/")[0] + "/"


def generations_prefix(namespace: str) -> str:
    """Folder of all generations of a namespace."""
    return f"generations/{namespace}/"


def generation_prefix(namespace: str, uid: str) -> str:
    """Folder of a generation's committed artefacts."""
    return f"{generations_prefix(namespace)}{uid}/"


def generation_attempt_prefix(namespace: str, uid: str, attempt: int) -> str:
    """Folder in which one attempt's server writes."""
    return f"{generation_prefix(namespace, uid)}attempt-{attempt:03d}/"


def generation_uploads_prefix(namespace: str, uid: str) -> str:
    """Folder of the files uploaded for one generation; deleted when it has ended."""
    return f"{generation_prefix(namespace, uid)}uploads/"


def generation_inputs_prefix(namespace: str, uid: str) -> str:
    """Folder of the copies of a generation's inputs."""
    return f"{generation_prefix(namespace, uid)}inputs/"
