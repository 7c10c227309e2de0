"""Selects the cluster: the given or default kubeconfig, or, if there is none, the cluster of this pod.

An invalid kubeconfig is an error. Falling back to another cluster, or to anonymous access, could change the wrong
cluster.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes import config as kubernetes_config
from kubernetes.config import kube_config
from kubernetes.config.config_exception import ConfigException

from kinema_cli.errors import ClusterUnreachable

USUAL: Final = "~/.kube/config"
_MAX_WORDS: Final = 200
_IN_CLUSTER: Any = kubernetes_config  # has no types
_LOADER: Any = kube_config
_BROKEN: Final = (ConfigException, OSError, ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError)
"""Exceptions of the client for malformed files."""


def load(named: str | None, context: str | None, settings: Any) -> str | None:
    """Fill a client's settings; returns the namespace of the context, if it names one.

    Raises `ClusterUnreachable`: the kubeconfig cannot be used, or there is neither one nor a pod's own cluster.
    """
    from_environment = os.environ.get("KUBECONFIG") or None
    source = named or from_environment or USUAL
    if named or from_environment or context or Path(USUAL).expanduser().exists():
        remedy = "correct --kubeconfig" if named else "correct KUBECONFIG" if from_environment else f"correct {USUAL}"
        return _from_files(source, context, settings, f"{remedy} or --context" if context else remedy)
    try:
        _IN_CLUSTER.load_incluster_config(settings)
    except ConfigException:
        raise ClusterUnreachable(
            "no cluster is configured; set KUBECONFIG or pass --kubeconfig, or use --local"
        ) from None
    return None


def _from_files(source: str, context: str | None, settings: Any, remedy: str) -> str | None:
    paths = [Path(path).expanduser() for path in source.split(os.pathsep) if path]
    if not any(path.exists() for path in paths):
        raise ClusterUnreachable(f"the kubeconfig {source} does not exist; {remedy}")
    with _heard() as said:
        try:
            merged = _LOADER.KubeConfigMerger(source)
            loader = _LOADER.KubeConfigLoader(config_dict=merged.config, active_context=context, config_base_path=None)
            chosen: dict[str, Any] = loader.current_context
            user = _user(merged.config.value, chosen["context"].get("user"))
            loader.load_and_set(settings)
            _check_certificates(settings)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            line = f" near line {mark.line + 1}" if mark else ""
            raise ClusterUnreachable(f"the kubeconfig {source} is not YAML{line}; {remedy}") from None
        except _BROKEN as error:
            raise ClusterUnreachable(f"the kubeconfig {source} is invalid ({_short(error)}); {remedy}") from None
    _require_credentials(user, settings, source, said)
    namespace = chosen["context"].get("namespace")
    return str(namespace) if namespace else None


def _user(merged: dict[str, Any], name: str | None) -> dict[str, Any]:
    """The user of the context. The client treats a missing user as anonymous, so that is an error here."""
    if not name:
        return {}
    for node in merged.get("users") or []:
        entry = getattr(node, "value", node)
        if entry.get("name") == name:
            return entry.get("user") or {}
    raise ConfigException(f"there is no user {name}")


def _check_certificates(settings: Any) -> None:
    """Raise `ConfigException` for invalid certificates and keys, which the client reports as a connection error."""
    try:
        if settings.ssl_ca_cert:
            ssl.create_default_context(cafile=settings.ssl_ca_cert)
        if settings.cert_file:
            ssl.create_default_context().load_cert_chain(settings.cert_file, settings.key_file)
    except (ssl.SSLError, OSError):
        raise ConfigException("it has an invalid certificate or key") from None


def _require_credentials(user: dict[str, Any], settings: Any, source: str, said: list[str]) -> None:
    """Raise if an exec plugin returned no credentials; the client would continue as anonymous."""
    asked = next((kind for kind in ("exec", "auth-provider") if kind in user), None)
    if asked is None or settings.api_key or settings.cert_file:
        return
    plugin = user[asked] if isinstance(user[asked], dict) else {}
    what = plugin.get("command") or plugin.get("name") or asked
    why = f" ({said[0]})" if said else ""
    raise ClusterUnreachable(
        f"the plugin {what} of the kubeconfig {source} gave no credentials{why}; log in again, or correct its entry"
    )


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Captures what the client's loader logs instead of raising."""
    said: list[str] = []

    class _Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(_short(record.getMessage()))

    root, ear = logging.getLogger(), _Ear(logging.ERROR)
    root.addHandler(ear)
    try:
        yield said
    finally:
        root.removeHandler(ear)


def _short(said: object) -> str:
    if isinstance(said, (KeyError, AttributeError, TypeError)):
        return "it has not the structure of a kubeconfig"
    return " ".join(str(said).removeprefix("Invalid kube-config file. ").split())[:_MAX_WORDS]
