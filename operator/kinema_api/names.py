"""Every name, label, port and path that more than one process must agree on, each defined once."""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import quote

from kinema_api.errors import UnsafeName

GROUP: Final = "kinema.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"

MAX_NAME_LENGTH: Final = 40
"""Longest name of a custom resource: derived names append to it and must fit into a DNS label (63)."""

RESOURCE_NAME_PATTERN: Final = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
"""Names of custom resources: a service is named after some of them."""

CLAIM_LEASE: Final = "kinema-claim"
"""Lease in each namespace with resources of Kinema; its holder is the install that reconciles them."""

FIELD_MANAGER: Final = "kinema"
STATUS_FIELD_MANAGER: Final = "kinema-status"

# Labels. The kubernetes.io ones are the recommended common labels.
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_COMPONENT: Final = "app.kubernetes.io/component"
LABEL_PART_OF: Final = "app.kubernetes.io/part-of"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGED_BY: Final = "kinema-operator"
"""Value of LABEL_MANAGED_BY on everything that the operator makes."""
LABEL_TRAINING: Final = f"{GROUP}/training"
LABEL_TRAINING_UID: Final = f"{GROUP}/training-uid"
"""Distinguishes a training's pods from those of a deleted training of the same name, even without their Job."""
LABEL_RUN: Final = f"{GROUP}/run"
LABEL_ATTEMPT: Final = f"{GROUP}/attempt"
LABEL_STORE_KEYS: Final = f"{GROUP}/store-keys"
"""Value "true" on Secrets with keys of an object store. A spec can name only Secrets with this label."""
LABEL_API_KEY: Final = f"{GROUP}/api-key"
"""Value "true" on Secrets with the key of a captioning endpoint. A spec can name only Secrets with this label."""
LABEL_MODEL: Final = f"{GROUP}/model"
LABEL_DIGEST: Final = f"{GROUP}/digest"
"""Value: the first 12 hex digits of a model digest."""

ANNOTATION_ARTIFACTS: Final = f"{GROUP}/artifacts"
"""On a training: UID, run and runId of its artefacts. Restoring a backup keeps it and changes the UID."""

FINALIZER: Final = f"{GROUP}/artifacts"
"""On a training whose artefacts are deleted with it."""

LABEL_QUEUE: Final = "kueue.x-k8s.io/queue-name"
"""Kueue's label for the LocalQueue of a Job."""

LABEL_MONITORING: Final = f"{GROUP}/monitoring"
"""On a namespace, with the value true: its pods may read the metrics of Kinema's pods."""

COMPONENT_TRAINER: Final = "trainer"
COMPONENT_STORE: Final = "rendezvous"
COMPONENT_PREPARER: Final = "preparer"
COMPONENT_EVALUATOR: Final = "evaluator"
COMPONENT_PUBLISHER: Final = "publisher"
COMPONENT_SERVER: Final = "server"
COMPONENT_OPERATOR: Final = "operator"

# Ports inside pods.
RENDEZVOUS_PORT: Final = 29400
RENDEZVOUS_LOST_SECONDS: Final = 10.0
"""A member without a heartbeat for this long is lost, unless the worker image sets another time."""
LEASE_SHARE: Final = 0.7
"""Share of that time after which a member without a response stops by itself, before it is declared lost."""
PROGRESS_PORT: Final = 9400
"""/metrics and /progress of a trainer's agent."""
SERVER_PORT: Final = 8500
"""Work orders and /healthz of a server: for the operator."""
SERVER_METRICS_PORT: Final = 8501
"""/metrics of a server: a port of its own, so that monitoring cannot send orders."""

# Paths inside pods.
STORAGE_SECRET_DIR: Final = "/var/run/kinema/storage"
POD_INFO_DIR: Final = "/var/run/kinema/pod"
"""In a rendezvous pod: files with its annotations, which the kubelet updates."""
POD_INFO_MIN_NODES: Final = "min-nodes"
POD_INFO_GENERATION: Final = "generation"
POD_INFO_LEASES_OVER: Final = "leases-over"
"""1: when the pod was created, no responding trainer had heard the previous rendezvous pod for a lease's duration."""
STORAGE_CREDENTIALS_KEY: Final = "credentials.json"
STORAGE_CA_KEY: Final = "ca.crt"
STORAGE_CAPTIONER_KEY: Final = "captioner-key"
"""The key of the captioning endpoint, among the storage keys of the pods that prepare clips."""
SCRATCH_DIR: Final = "/tmp"  # noqa: S108 - an emptyDir of the pod
TERMINATION_LOG: Final = "/dev/termination-log"

ENV_THREADS: Final = "OMP_NUM_THREADS"
"""Threads per process: depends on what else runs on the machine, so it is not in the AppDef."""


_LEADS_ELSEWHERE: Final = re.compile(r"[/\\%\x00-\x1f\x7f]")


def path_segment(name: str) -> str:
    """`name` as one segment of a URL's path, percent-encoded.

    Servers decode a path before routing and clients collapse `..`, so encoding alone is not safe.

    Raises:
        UnsafeName: it is empty, `.` or `..`, or holds a slash, a backslash, a percent sign or a control character.
    """
    if name in ("", ".", "..") or _LEADS_ELSEWHERE.search(name):
        raise UnsafeName(f"{name!r} cannot be a segment of a URL path; correct it")
    return quote(name, safe="")


def pod_origin(address: str, port: int) -> str:
    """Start of a URL to a pod with the IP address `address`.

    Raises:
        UnsafeName: it is not an IP address.
    """
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        raise UnsafeName(f"{address!r} is not the IP address of a pod; look at the pod's status.podIP") from None
    return f"http://[{ip}]:{port}" if ip.version == 6 else f"http://{ip}:{port}"


ENV_ORDER_KEY: Final = "KINEMA_ORDER_KEY"
"""Public key that verifies the operator's orders; several, separated by commas, during a key rotation."""
ENV_POD_UID: Final = "KINEMA_POD_UID"
"""UID of the server's pod: an order is signed for one pod."""

ORDER_KEY_SECRET: Final = "kinema-order-key"
"""Secret in the operator's namespace with the private key that signs orders."""


def job_name(training: str, run: int, attempt: int) -> str:
    """Name of the Indexed Job of one attempt."""
    return f"{training}-r{run}-a{attempt}"


def preparation_name(training: str, run: int) -> str:
    """Name of the Indexed Job that prepares the recorded clips of a run, and of the NetworkPolicy around its pods."""
    return f"{training}-r{run}-prepare"


def evaluation_job_name(training: str, run: int, attempt: int) -> str:
    """Name of the Job that evaluates the model of one attempt."""
    return f"{job_name(training, run, attempt)}-evaluation"


def publication_job_name(training: str, run: int, attempt: int) -> str:
    """Name of the Job that publishes the model of one attempt."""
    return f"{job_name(training, run, attempt)}-publish"


def store_name(training: str, run: int, attempt: int) -> str:
    """Host name of the rendezvous pod of one attempt, and name of its first pod."""
    return f"{training}-r{run}-a{attempt}-store"


RENDEZVOUS_SERVICE: Final = "kinema-rendezvous"
"""Name of the headless Service of the rendezvous pods of all trainings of a namespace."""
TRAININGS_POLICY: Final = "kinema-trainings"
"""Name of the NetworkPolicy around the pods of all trainings of a namespace."""


def pods_service_name(training: str) -> str:
    """Name of the headless Service that older versions made for each training."""
    return f"{training}-pods"


def storage_secret_name(training: str) -> str:
    """Name of the Secret with a training's short-lived storage credentials."""
    return f"{training}-storage"


def publication_secret_name(training: str) -> str:
    """Name of the Secret with the short-lived storage credentials of the pod that publishes a training's model.

    Names of trainings have no dots, so it differs from every `storage_secret_name`.
    """
    return f"{training}.publication-storage"


def preparation_secret_name(training: str) -> str:
    """Name of the Secret of the pods that prepare a training's recorded clips; see `publication_secret_name`."""
    return f"{training}.preparation-storage"


def network_policy_name(training: str) -> str:
    """Name of the NetworkPolicy that older versions made for each training."""
    return f"{training}-training"


def serving_policy_name(model: str) -> str:
    """Name of the NetworkPolicy around a model's servers."""
    return f"{model}-serve"


def server_name(model: str, digest: str) -> str:
    """Name of the Deployment and Service that serve one digest of a model."""
    return f"{model}-serve-{short_digest(digest)}"


def short_digest(digest: str) -> str:
    """The first 12 hex digits of `sha256:<hex>`, for names and labels."""
    return digest.removeprefix("sha256:")[:12]


def common_labels(instance: str, component: str) -> dict[str, str]:
    """The recommended labels of every object that the operator makes."""
    return {
        LABEL_NAME: "kinema",
        LABEL_INSTANCE: instance,
        LABEL_COMPONENT: component,
        LABEL_PART_OF: "kinema",
        LABEL_MANAGED_BY: MANAGED_BY,
    }
