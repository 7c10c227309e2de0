"""Merges the pod template of a resource into a pod that Kinema makes: one builder for trainers, evaluators, servers.

A template only adds. What Kinema sets itself (labels and annotations, variables, volumes and mounts, tolerations of
lost nodes, nodes that a run avoids) stays as it is whatever the template says: the rules at admission say so to people,
this module makes it so. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from kinema_api.base import ApiModel
from kinema_api.pod_template import PodTemplate, TrainerPodTemplate
from kinema_api.pod_volumes import Volume
from kinema_operator.core import pods
from kinema_operator.core.plan import KubeObject

VOLUME_PREFIX: Final = "custom-"
"""Before the name of each volume of a template, so that none is ever called like one of Kinema's own."""
HELPER_FIELDS: Final = ("labels", "annotations", "tolerations", "priority_class_name", "image_pull_secrets")
"""What reaches the small pods beside the trainers, which have resources, nodes and files of their own."""

_NOT_INHERITED: Final = re.compile(
    r"(kinema\.dev|helm\.sh|([^/]*\.)?(kubernetes|k8s|x-k8s)\.io)/|(pod-template-hash|controller-uid|job-name)$"
)
"""Labels of a resource that say something of that very object, or mean something to Kubernetes on a pod."""
_QUEUE_LABELS: Final = re.compile(r"kueue\.x-k8s\.io/")
"""Kueue's own mean something on a Job, and something else on its pods."""

_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def pod_labels(resource: Mapping[str, str]) -> dict[str, str]:
    """Labels of a resource that its pods have as well."""
    return {key: value for key, value in resource.items() if not _NOT_INHERITED.match(key)}


def job_labels(resource: Mapping[str, str]) -> dict[str, str]:
    """Labels of a resource that its Jobs have as well."""
    queue = {key: value for key, value in resource.items() if _QUEUE_LABELS.match(key)}
    return {**pod_labels(resource), **queue}


def for_helper(template: PodTemplate) -> PodTemplate:
    """The part of the trainers' template that reaches the pods beside them."""
    return PodTemplate().model_copy(update={name: getattr(template, name) for name in HELPER_FIELDS})


def merged_metadata(own: KubeObject, template: PodTemplate, resource: Mapping[str, str]) -> dict[str, Any]:
    """Metadata of a pod: labels of the resource, over them the template's, over these Kinema's own."""
    labels = {**pod_labels(resource), **template.labels, **(own.get("labels", {}))}
    annotations = {**template.annotations, **(own.get("annotations", {}))}
    return {**own, "labels": labels, **({"annotations": annotations} if annotations else {})}


def merged_spec(
    own: KubeObject,
    template: PodTemplate,
    selector: Mapping[str, str],
    default_requests: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Spec of a pod of one container.

    Args:
        own: what Kinema says, without resources.
        template: what the resource says.
        selector: labels of the pods that are spread together.
        default_requests: what the container requests of what the template neither requests nor limits.
    """
    (container,) = own["containers"]
    volumes = _fitting(template.volumes, container)
    found: dict[str, Any] = {
        "tolerations": _tolerations(own.get("tolerations", ()), template),
        "volumes": [*_own_volumes(own, template), *map(_volume, volumes)],
        "topologySpreadConstraints": _spread(own.get("topologySpreadConstraints", ()), template, selector),
        "affinity": _affinity(own.get("affinity", {}), _wire(template.affinity)),
        "nodeSelector": {**(template.node_selector or {}), **(own.get("nodeSelector", {}))},
        "imagePullSecrets": _pull_secrets(own.get("imagePullSecrets", ()), template),
        "priorityClassName": template.priority_class_name,
        "runtimeClassName": template.runtime_class_name or own.get("runtimeClassName"),
        "serviceAccountName": template.service_account_name if isinstance(template, TrainerPodTemplate) else None,
    }
    said = {name: value for name, value in found.items() if value}
    return {**own, **said, "containers": [_container(container, template, volumes, default_requests)]}


def _container(
    own: KubeObject, template: PodTemplate, volumes: Sequence[Volume], default_requests: Mapping[str, str] | None
) -> dict[str, Any]:
    resources = pods.container_resources(template.resources, default_requests)
    known = {variable["name"] for variable in own.get("env", ())}
    env = [
        {"name": variable.name, "value": pods.literal(variable.value)}
        for variable in template.env
        if variable.name not in known
    ]
    mounts = [*own.get("volumeMounts", ()), *map(_mount, volumes)]
    return {
        **own,
        **({"resources": resources} if resources else {}),
        **({"env": [*own.get("env", ()), *env]} if env else {}),
        **({"volumeMounts": mounts} if volumes else {}),
    }


def _fitting(volumes: Sequence[Volume], container: KubeObject) -> list[Volume]:
    """Those that shadow no mount of Kinema's own. Admission lets in no other."""
    taken = [f"{mount['mountPath']}/" for mount in container.get("volumeMounts", ())]
    return [volume for volume in volumes if not any(path.startswith(f"{volume.mount_path}/") for path in taken)]


def _own_volumes(own: KubeObject, template: PodTemplate) -> list[KubeObject]:
    return [pods.sized(volume, template.shared_memory_size) for volume in own.get("volumes", ())]


def _volume(volume: Volume) -> dict[str, Any]:
    source: dict[str, Any] = {}
    if volume.persistent_volume_claim:
        claim = {"claimName": volume.persistent_volume_claim.claim_name}
        # Kubernetes leaves owners and modes of a volume alone that no pod may write to.
        source["persistentVolumeClaim"] = {**claim, "readOnly": True} if volume.read_only else claim
    elif volume.empty_dir:
        source["emptyDir"] = _wire(volume.empty_dir)
    elif volume.config_map:
        optional = {"optional": True} if volume.config_map.optional else {}
        source["configMap"] = {"name": volume.config_map.name, **optional}
    return {"name": f"{VOLUME_PREFIX}{volume.name}", **source}


def _mount(volume: Volume) -> dict[str, Any]:
    mount: dict[str, Any] = {"name": f"{VOLUME_PREFIX}{volume.name}", "mountPath": volume.mount_path}
    return {**mount, "readOnly": True} if volume.read_only or volume.config_map else mount


def _tolerations(own: Sequence[KubeObject], template: PodTemplate) -> list[KubeObject]:
    found = [*own]
    for toleration in (*pods.gpu_tolerations(template.resources), *map(_wire, template.tolerations)):
        if toleration not in found:
            found.append(toleration)
    return found


def _spread(own: Sequence[KubeObject], template: PodTemplate, selector: Mapping[str, str]) -> list[KubeObject]:
    wanted = template.topology_spread_constraints
    keys = {constraint.topology_key for constraint in wanted}
    kept = [constraint for constraint in own if constraint["topologyKey"] not in keys]
    return [*kept, *({**_wire(constraint), "labelSelector": {"matchLabels": dict(selector)}} for constraint in wanted)]


def _pull_secrets(own: Sequence[KubeObject], template: PodTemplate) -> list[KubeObject]:
    known = {secret["name"] for secret in own}
    return [*own, *({"name": secret.name} for secret in template.image_pull_secrets if secret.name not in known)]


def _affinity(own: KubeObject, given: KubeObject) -> KubeObject:
    """Both hold: alternatives of nodes are combined each with each, preferences are added up."""
    ours, theirs = own.get("nodeAffinity", {}), given.get("nodeAffinity", {})
    terms = _combined(_terms(ours), _terms(theirs))
    preferred = [*ours.get(_PREFERRED, ()), *theirs.get(_PREFERRED, ())]
    nodes = {
        **({_REQUIRED: {"nodeSelectorTerms": terms}} if terms else {}),
        **({_PREFERRED: preferred} if preferred else {}),
    }
    return {**given, **own, **({"nodeAffinity": nodes} if nodes else {})}


def _terms(affinity: KubeObject) -> list[KubeObject]:
    return list((affinity.get(_REQUIRED, {})).get("nodeSelectorTerms", ()))


def _combined(ours: Sequence[KubeObject], theirs: Sequence[KubeObject]) -> list[KubeObject]:
    if not ours or not theirs:
        return [*ours, *theirs]
    fields = ("matchFields", "matchExpressions")
    return [
        {name: both for name in fields if (both := [*a.get(name, ()), *b.get(name, ())])} for a in ours for b in theirs
    ]


def _wire(model: ApiModel | None) -> dict[str, Any]:
    """As Kubernetes has it, without what says nothing."""
    pruned: dict[str, Any] = _pruned(model.to_wire()) if model else {}
    return pruned


def _pruned(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = {key: _pruned(child) for key, child in value.items()}
        return {key: child for key, child in inner.items() if child not in ("", [], {}, None)}
    return [_pruned(child) for child in value] if isinstance(value, list) else value
