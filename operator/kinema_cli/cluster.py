"""A thin client of the Kubernetes API for the command: objects are dicts, and each failure is one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import urllib3
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from kinema_api import names
from kinema_api.errors import UnsafeName
from kinema_api.names import GROUP, VERSION
from kinema_cli import kubeconfig as kubeconfig_files
from kinema_cli.errors import BadManifest, ClusterUnreachable, CommandError, NotFound, Unanswered

FIELD_MANAGER: Final = "kinema-cli"
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0
FOLLOW_SECONDS: Final = 86400.0
"""Longest silence of a log that is followed."""
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
_TABLE: Final = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
_TYPED_PATCH: Final = re.compile(r"^.*failed to create typed patch object \([^)]*\): (errors:\s*)?")
_GO_VALUE: Final = re.compile(r"&value\.value\w+\{Value:[^}]*\}")
_TIMEOUT: Final = (CONNECT_SECONDS, READ_SECONDS)

T = TypeVar("T")
Json = dict[str, Any]


class Cluster:
    """One API server and one namespace."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = _checked(namespace, "namespace")
        # Generated code whose types do not know raw answers; `_call` gives the types back.
        self._objects: Any = client.CustomObjectsApi(api)
        self._core: Any = client.CoreV1Api(api)
        self._api: Any = api

    @classmethod
    def connect(cls, kubeconfig: str | None, context: str | None, namespace: str | None) -> Cluster:
        """The cluster of the kubeconfig, or, if there is none, of the pod that this process runs in. Sends no request
        yet.

        Raises:
            ClusterUnreachable: the kubeconfig is invalid, or there is neither a kubeconfig nor a pod's service account.
        """
        settings = client.Configuration()
        settings.retries = urllib3.Retry(connect=1, read=0, redirect=0)
        found = kubeconfig_files.load(kubeconfig, context, settings)
        try:
            return cls(client.ApiClient(settings), namespace or found or "default")
        except (OSError, ValueError) as error:  # an invalid certificate or key
            raise ClusterUnreachable(
                f"the kubeconfig's certificates cannot be used ({_reason(error)}); correct the kubeconfig"
            ) from None

    def apply(self, plural: str, body: Json, *, force: bool) -> Json:
        """Server-side apply (KEP-555): a different value in a field of another owner is a conflict unless forced."""
        name = _checked(body["metadata"]["name"])
        applied: Json | None = self._call(
            lambda: self._objects.patch_namespaced_custom_object(
                *(GROUP, VERSION, self.namespace, plural, name),
                body,
                field_manager=FIELD_MANAGER,
                force=force,
                field_validation="Strict",
                _content_type=APPLY,
                _request_timeout=_TIMEOUT,
            )
        )
        # The generated client drops the answer where the object is new (201).
        return applied or self.get(plural, name)

    def create(self, plural: str, body: Json) -> Json:
        """Create an object."""
        return self._call(
            lambda: self._objects.create_namespaced_custom_object(
                *(GROUP, VERSION, self.namespace, plural),
                body,
                field_manager=FIELD_MANAGER,
                field_validation="Strict",
                _request_timeout=_TIMEOUT,
            )
        )

    def patch(self, plural: str, name: str, body: Json) -> Json:
        """Merge-patch an object."""
        return self._call(
            lambda: self._objects.patch_namespaced_custom_object(
                *(GROUP, VERSION, self.namespace, plural, _checked(name)),
                body,
                field_manager=FIELD_MANAGER,
                _content_type=MERGE,
                _request_timeout=_TIMEOUT,
            )
        )

    def get(self, plural: str, name: str) -> Json:
        """One object. Raises `NotFound`."""
        return self._call(
            lambda: self._objects.get_namespaced_custom_object(
                *(GROUP, VERSION, self.namespace, plural, _checked(name)), _request_timeout=_TIMEOUT
            )
        )

    def listing(self, plural: str, *, everywhere: bool, as_table: bool = False) -> Json:
        """All objects of a kind; as a table with the columns of `kubectl get` if asked to."""
        headers = _TABLE if as_table else None
        where = () if everywhere else (self.namespace,)
        request = (
            self._objects.list_custom_object_for_all_namespaces
            if everywhere
            else self._objects.list_namespaced_custom_object
        )
        return self._call(
            lambda: request(*(GROUP, VERSION, *where, plural), _headers=headers, _request_timeout=_TIMEOUT)
        )

    def pods(self, selector: str) -> list[Json]:
        """Pods by label selector, oldest first."""

        def request() -> Json:
            answer = self._core.list_namespaced_pod(
                self.namespace, label_selector=selector, _preload_content=False, _request_timeout=_TIMEOUT
            )
            found: Json = json.loads(answer.data)
            return found

        return sorted(self._call(request)["items"], key=lambda pod: str(pod["metadata"]["creationTimestamp"]))

    def pod_get(self, pod: str, port: int, path: str) -> Json:
        """A pod's HTTP response, through the API server's proxy."""
        return self._call(
            lambda: json.loads(
                self._core.connect_get_namespaced_pod_proxy_with_path(
                    f"{_checked(pod)}:{port}", self.namespace, path, _preload_content=False, _request_timeout=_TIMEOUT
                ).data
            )
        )

    def service_call(
        self, method: str, namespace: str, service: str, port: str, path: str, headers: dict[str, str]
    ) -> tuple[int, bytes]:
        """Status and body of a Service's response through the API server's proxy, which does not forward Authorization.

        An error of the API server itself is a Status object; nothing is raised.
        """
        place = f"/api/v1/namespaces/{_checked(namespace, 'namespace')}/services/{service}:{port}/proxy{path}"

        def request() -> tuple[int, bytes]:
            asked = self._api.param_serialize(
                method=method, resource_path=place, header_params=headers, auth_settings=["BearerToken"]
            )
            answer = self._api.call_api(*asked, _request_timeout=_TIMEOUT)
            return int(answer.status), bytes(answer.read())

        return self._call(request)

    def token(self, account: str, audience: str, seconds: int) -> str:
        """A token of a service account of the namespace, for one audience and a while."""
        body = {"spec": {"audiences": [audience], "expirationSeconds": seconds}}

        def request() -> str:
            answer = self._core.create_namespaced_service_account_token(
                *(_checked(account, "service account"), self.namespace, body),
                _preload_content=False,
                _request_timeout=_TIMEOUT,
            )
            return str(json.loads(answer.data)["status"]["token"])

        return self._call(
            request, "ask for Kubernetes' role edit in this namespace, or bring a token with --token-file"
        )

    def log(self, pod: str, *, follow: bool) -> Iterator[str]:
        """The lines of a pod's log; with `follow` as they come, until the pod ends."""
        answer = self._call(
            lambda: self._core.read_namespaced_pod_log(
                *(_checked(pod), self.namespace),
                follow=follow,
                _preload_content=False,
                _request_timeout=(CONNECT_SECONDS, FOLLOW_SECONDS if follow else READ_SECONDS),
            )
        )
        rest = b""
        for chunk in answer.stream(amt=None):
            *lines, rest = (rest + chunk).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        if rest:
            yield rest.decode(errors="replace")

    def _call(self, request: Callable[[], T], right: str = "ask for the role kinema-edit in this namespace") -> T:
        try:
            return request()
        except ApiException as error:
            raise _sentence(error, right) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unanswered(
                f"the cluster does not respond ({_reason(error)}); check that it runs and that the kubeconfig is right"
            ) from None


def _checked(name: str, what: str = "name") -> str:
    """`name`, checked to be safe in a URL path.

    Raises:
        BadManifest: it has slashes or dots.
    """
    try:
        names.path_segment(name)
    except UnsafeName:
        raise BadManifest(f"{name!r} is not a {what}; give the {what} of an object, without slashes or dots") from None
    return name


def _reason(error: Exception) -> str:
    return type(getattr(error, "reason", None) or error).__name__


def _of_fields(said: str) -> str:
    """The message of server-side apply about invalid fields, without Go's type names.

    The API server responds with 500 to an object that does not match its schema.
    """
    found = _TYPED_PATCH.sub("", said).replace("\n", "; ")
    return _GO_VALUE.sub("something else", found)


def _sentence(error: ApiException, right: str) -> CommandError:
    """The API server's refusal as an error of the command; `right` is the remedy for a missing permission."""
    try:
        said = str(json.loads(error.body or "")["message"])
    except (TypeError, ValueError, KeyError):
        said = str(error.reason or f"status {error.status}")
    match error.status:
        case 400 | 413 | 415 | 422:
            return BadManifest(f"{said}; correct it and try again")
        case 500 if "failed to create typed patch object" in said or "field not declared in schema" in said:
            return BadManifest(f"{_of_fields(said)}; correct the field, or remove it")
        case 401 | 403:
            return ClusterUnreachable(f"{said}; {right}")
        case 404 if "could not find the requested resource" in said or "page not found" in said:
            return ClusterUnreachable("Kinema is not installed in this cluster; install the chart charts/kinema first")
        case 404:
            return NotFound(f"{said}; see `kinema get`")
        case 409 if "conflict" in said.lower():
            return BadManifest(
                f"{said}; remove these fields from the file, or take ownership of them with --force-conflicts"
            )
        case 409:
            return BadManifest(f"{said}; choose another name")
        case 429 | 500 | 502 | 503 | 504:
            return Unanswered(f"the cluster is unavailable ({said}); try again")
    return CommandError(f"{said}; see the cluster's audit log")
