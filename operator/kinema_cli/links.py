"""Requests presigned URLs of a clip from the operator, which returns them to callers that may get the VideoGeneration.

A kubeconfig is enough: the request goes through the API server's proxy to the operator's Service. The proxy does not
forward the caller's identity, so the request carries a service account token of the namespace, created for this
purpose with a lifetime of ten minutes.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import urllib3

from kinema_api import links, names
from kinema_api.errors import StorageError, UnsafeName
from kinema_api.storehttp import Budget, WatchedPools
from kinema_cli.errors import BadManifest, ClusterUnreachable, CommandError, NotFound, Unanswered
from kinema_cli.options import with_ca_file
from kinema_cli.output import printable

if TYPE_CHECKING:
    from kinema_cli.cluster import Cluster

TOKEN_SECONDS: Final = 600
"""The shortest lifetime that the API server allows for a token."""
CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0
MAX_ANSWER_BYTES: Final = 1 << 20
_SCHEMES: Final = ("http://", "https://")


@dataclass(frozen=True)
class Link:
    """A presigned URL of one file of a clip, with the file's digest and size."""

    url: str
    sha256: str


@dataclass(frozen=True)
class LinkOptions:
    """How to reach the operator, and with which token."""

    account: str = "default"
    token_file: Path | None = None
    url: str | None = None
    operator_namespace: str = "kinema-system"
    ca_file: Path | None = None
    """CA certificates (PEM) to trust for the clip's store."""

    @property
    def need_no_cluster(self) -> bool:
        """Whether no request to the API server is needed."""
        return self.token_file is not None and self.url is not None


def with_links(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of LinkOptions; the command gets `asking: LinkOptions`."""

    @click.option("--account", default="default", show_default=True, help="Service account to request a token for.")
    @click.option(
        "--token-file",
        type=click.Path(path_type=Path, dir_okay=False),
        help=f"File with a service account token for the audience {links.AUDIENCE}; replaces --account.",
    )
    @click.option(
        "--links-url",
        envvar="KINEMA_LINKS_URL",
        help="URL of the operator's links port, to bypass the API server's proxy, for example from a pod: "
        f"http://{links.SERVICE}.kinema-system:8081.",
    )
    @click.option(
        "--operator-namespace",
        envvar="KINEMA_OPERATOR_NAMESPACE",
        default="kinema-system",
        show_default=True,
        help="Namespace of the operator.",
    )
    @with_ca_file
    @functools.wraps(command)
    def run(
        *args: Any,
        account: str,
        token_file: Path | None,
        links_url: str | None,
        operator_namespace: str,
        ca_file: Path | None,
        **kwargs: Any,
    ) -> Any:
        asking = LinkOptions(account, token_file, links_url, operator_namespace, ca_file)
        return command(*args, asking=asking, **kwargs)

    return run


def ask(asking: LinkOptions, cluster: Cluster | None, namespace: str, name: str) -> dict[str, Link]:
    """Presigned URLs of a clip's files, by the name of the status field: video, thumbnail, spritesheet.

    Args:
        cluster: may be None where `asking.need_no_cluster`.

    Raises:
        CommandError: there is no clip, access is denied, or there is no response; the message has the remedy.
    """
    try:
        path = links.path(names.path_segment(namespace), names.path_segment(name))
    except UnsafeName:
        raise BadManifest(
            f"{namespace}/{name} is not the name of a generation; pass a name without slashes or dots"
        ) from None
    return _links(_answer(asking, cluster, "GET", path), name)


def upload_form(asking: LinkOptions, cluster: Cluster, name: str, field: str) -> tuple[str, dict[str, str]]:
    """URL and form fields for uploading the file that `field` of a generation waits for.

    Raises:
        CommandError: no upload is expected, access is denied, or there is no response; the message has the remedy.
    """
    answer = _answer(asking, cluster, "POST", links.upload_path(cluster.namespace, name, field))
    try:
        return str(answer["url"]), {str(key): str(value) for key, value in answer["fields"].items()}
    except (KeyError, AttributeError):
        raise CommandError(
            f"the response about {name} is not a form; check that --links-url is the operator's"
        ) from None


def _answer(asking: LinkOptions, cluster: Cluster | None, method: str, path: str) -> dict[str, Any]:
    token = _token(asking, cluster)
    if asking.url is not None:
        status, body = _ask_directly(asking.url, method, path, token)
    else:
        assert cluster is not None, "without a cluster both --token-file and --links-url are needed"
        headers = {links.PROXIED_HEADER: f"Bearer {token}", "Accept": "application/json"}
        status, body = cluster.service_call(
            method, asking.operator_namespace, links.SERVICE, links.PORT_NAME, path, headers
        )
    answer = _document(body)
    if status == 200:
        return answer
    if answer.get("kind") == "Status":
        raise _unreachable(status, printable(str(answer.get("message"))))
    raise _refusal(status, printable(str(answer.get("error") or f"the operator responded with status {status}")))


def _token(asking: LinkOptions, cluster: Cluster | None) -> str:
    if asking.token_file is not None:
        try:
            token = asking.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise BadManifest(f"{asking.token_file} cannot be read ({why}); pass a file with a token") from None
        if not token or not all(" " < character <= "~" for character in token):
            raise BadManifest(f"{asking.token_file} has no token; pass a file with a token and nothing else")
        return token
    assert cluster is not None, "only the API server creates tokens"
    try:
        return cluster.token(asking.account, links.AUDIENCE, TOKEN_SECONDS)
    except NotFound:
        raise NotFound(
            f"there is no service account {asking.account} in {cluster.namespace}; name one with --account"
        ) from None


def _ask_directly(url: str, method: str, path: str, token: str) -> tuple[int, bytes]:
    if not url.startswith(_SCHEMES):
        raise BadManifest(f"{url} is not a URL; pass --links-url as http://HOST:PORT or https://HOST:PORT")
    pool = WatchedPools(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=urllib3.Retry(connect=1, read=0)
    )
    try:
        with Budget(CONNECT_SECONDS + READ_SECONDS) as budget:
            answer = pool.request(
                method,
                url.rstrip("/") + path,
                headers={"Authorization": f"Bearer {token}"},
                redirect=False,
                preload_content=False,
            )
            with answer:
                body = bytes(answer.read(MAX_ANSWER_BYTES))
            budget.check()
            return int(answer.status), body
    except (urllib3.exceptions.HTTPError, StorageError) as error:
        raise Unanswered(
            f"no response from {url} ({type(error).__name__}); correct --links-url, or leave it out to ask through "
            "the API server"
        ) from None


def _document(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except ValueError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _links(answer: dict[str, Any], name: str) -> dict[str, Link]:
    try:
        return {field: Link(str(link["url"]), str(link["sha256"])) for field, link in answer.items()}
    except (TypeError, KeyError):
        raise CommandError(
            f"the response about {name} has no presigned URLs; check that --links-url is the operator's"
        ) from None


def _unreachable(status: int, said: str) -> CommandError:
    """The API server's own response: the request did not reach the operator."""
    match status:
        case 401 | 403:
            return ClusterUnreachable(
                f"{said}; set links.proxy in Kinema's chart, or reach the operator with --links-url"
            )
        case 404:
            return ClusterUnreachable(
                f"no operator presigns URLs there ({said}); pass its namespace with --operator-namespace, or set "
                "links.enabled in its chart"
            )
    return Unanswered(f"the operator does not respond ({said}); check that its pods are ready, and try again")


def _refusal(status: int, said: str) -> CommandError:
    """The operator's response."""
    match status:
        case 401 | 403:
            return ClusterUnreachable(said)
        case 404:
            return NotFound(said)
        case 429 | 500 | 502 | 503 | 504:
            return Unanswered(f"{said}; try again")
    return CommandError(f"{said}; check that this command has the operator's version")
