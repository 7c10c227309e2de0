"""The CustomResourceDefinitions: names, columns and subresources around the schemas of the types. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kinema_api import generation, names, serving, training
from kinema_api.base import ApiModel
from kinema_api.errors import UnstructuralSchema
from kinema_api.schema import Schema, structural_schema, without_defaults

CATEGORY: Final = "kinema"
CRD_API_VERSION: Final = "apiextensions.k8s.io/v1"

_NAME_RULES: Final = (
    (
        f"size(self.metadata.name) <= {names.MAX_NAME_LENGTH}",
        f"metadata.name must be at most {names.MAX_NAME_LENGTH} characters, since names of pods and services are "
        "made from it: choose a shorter name",
    ),
    (
        f"self.metadata.name.matches('{names.RESOURCE_NAME_PATTERN}')",
        "metadata.name must start with a letter and hold only lower-case letters, digits and dashes, since a "
        "service is named after it: choose another name",
    ),
)


@dataclass(frozen=True)
class Column:
    """One column of `kubectl get`; a wide one shows with -o wide only."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False
    description: str = ""


@dataclass(frozen=True)
class Kind:
    """One kind of the group."""

    model: type[ApiModel]
    kind: str
    plural: str
    short: str
    columns: tuple[Column, ...]
    scale: tuple[str, str, str] | None = None
    """Paths of the scale subresource: spec replicas, status replicas, label selector."""
    selectable: tuple[str, ...] = ()
    """Fields for --field-selector (KEP-4358)."""

    @property
    def crd_name(self) -> str:
        """Name of the CustomResourceDefinition."""
        return f"{self.plural}.{names.GROUP}"


_AGE: Final = Column("Age", ".metadata.creationTimestamp", "date", description="Time since creation.")

KINDS: Final = (
    Kind(
        model=training.VideoModelTraining,
        kind=training.KIND,
        plural=training.PLURAL,
        short="vmt",
        columns=(
            Column("Phase", ".status.phase", description="Phase of the run."),
            Column("Step", ".status.progress.step", "integer", description="Completed optimizer steps."),
            Column("Steps", ".spec.optimization.steps", "integer", description="Optimizer steps in all."),
            Column("Nodes", ".spec.nodes", "integer", description="Desired nodes."),
            Column("Ready", ".status.nodes.ready", "integer", description="Nodes in the current rendezvous round."),
            Column("Attempt", ".status.attempt", "integer", description="Current attempt of the run."),
            _AGE,
            Column("Run", ".status.run", "integer", wide=True, description="Number of the run."),
            Column("Loss", ".status.progress.loss", "number", wide=True, description="Last reported loss."),
            Column(
                "ETA",
                ".status.progress.etaSeconds",
                "integer",
                wide=True,
                description="Estimated seconds to the last step.",
            ),
            Column("Clips", ".status.dataset.samples", "integer", wide=True, description="Recorded clips of the run."),
            Column("Checkpoint", ".status.lastCheckpoint.step", "integer", wide=True, description="Newest checkpoint."),
            Column("Model", ".spec.publish.model", wide=True, description="VideoModel that serves the result."),
        ),
        scale=(".spec.nodes", ".status.nodes.ready", ".status.selector"),
        selectable=(".status.phase",),
    ),
    Kind(
        model=serving.VideoModel,
        kind=serving.KIND,
        plural=serving.PLURAL,
        short="vmodel",
        columns=(
            Column("Phase", ".status.phase", description="Phase of the model."),
            Column("Replicas", ".status.replicas", "integer", description="Desired servers."),
            Column("Ready", ".status.readyReplicas", "integer", description="Ready servers."),
            Column("Waiting", ".status.waiting", "integer", description="Requests that are queued or running."),
            _AGE,
            Column("Training", ".spec.source.training", wide=True, description="Training whose model is served."),
            Column("Digest", ".status.digest", wide=True, description="Digest that is served."),
        ),
        selectable=(".status.phase",),
    ),
    Kind(
        model=generation.VideoGeneration,
        kind=generation.KIND,
        plural=generation.PLURAL,
        short="vgen",
        columns=(
            Column("Phase", ".status.phase", description="Phase of the request."),
            Column("Model", ".spec.modelRef.name", description="Model that renders it."),
            Column("Percent", ".status.progress.percent", "integer", description="Progress of the clip."),
            Column("Queue", ".status.queuePosition", "integer", description="Requests ahead in the queue."),
            _AGE,
            Column("Prompt", ".spec.prompt", wide=True, description="What the clip shows."),
            Column("Seed", ".status.seed", "integer", wide=True, description="Seed of the clip."),
            Column("Video", ".status.video.uri", wide=True, description="Location of the clip."),
        ),
        selectable=(".status.phase", ".spec.modelRef.name"),
    ),
)


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind."""
    return {
        "apiVersion": CRD_API_VERSION,
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": kind.crd_name,
            "labels": {names.LABEL_NAME: "kinema", names.LABEL_PART_OF: "kinema"},
        },
        "spec": {
            "group": names.GROUP,
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [_version(kind)],
        },
    }


def resource_schema(kind: Kind) -> Schema:
    """Schema of a whole object: spec with defaults, status without, and the rules on its name."""
    fields = kind.model.model_fields
    return {
        "description": " ".join((kind.model.__doc__ or "").split()),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": structural_schema(_field_model(fields["spec"])),
            "status": without_defaults(structural_schema(_field_model(fields["status"]))),
        },
        "x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in _NAME_RULES],
    }


def _field_model(field: FieldInfo) -> type[BaseModel]:
    if not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
        raise UnstructuralSchema(f"{field.annotation} is not a model; make spec and status models of their own")
    return field.annotation


def _version(kind: Kind) -> dict[str, Any]:
    subresources: dict[str, Any] = {"status": {}}
    if kind.scale:
        paths = ("specReplicasPath", "statusReplicasPath", "labelSelectorPath")
        subresources["scale"] = dict(zip(paths, kind.scale, strict=True))
    version: dict[str, Any] = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "subresources": subresources,
        "additionalPrinterColumns": [_column(column) for column in kind.columns],
        "schema": {"openAPIV3Schema": resource_schema(kind)},
    }
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    return version


def _column(column: Column) -> dict[str, Any]:
    result: dict[str, Any] = {"name": column.name, "type": column.type, "jsonPath": column.path}
    if column.description:
        result["description"] = column.description
    if column.wide:
        result["priority"] = 1
    return result
