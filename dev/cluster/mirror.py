"""Mirrors of a cluster's objects by list and watch, for the processes of this tool that follow them."""

from __future__ import annotations

import http.client
import threading
import time
from typing import Any

from .errors import ApiError
from .kubeapi import KubeApi

RETRY_SECONDS = 1.0


class Mirror:
    """All objects of one kind; replaced whole by every list, so that nothing dead stays."""

    def __init__(self, api: KubeApi, path: str, changed: threading.Event) -> None:
        self._api, self._path, self._changed = api, path, changed
        self._objects: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.listed = threading.Event()

    def objects(self) -> list[dict[str, Any]]:
        """All objects as of now."""
        with self._lock:
            return list(self._objects.values())

    def follow(self) -> None:
        """List and watch for ever; sets the `changed` event whenever something changed."""
        while True:
            try:
                version = self._list()
                for event in self._api.watch(self._path, version):
                    self._take(event)
            except (ApiError, OSError, http.client.HTTPException, ValueError) as error:
                print(f"{self._path}: {error}; listing again", flush=True)
                time.sleep(RETRY_SECONDS)

    def _list(self) -> str:
        answer = self._api.request("GET", self._path)
        with self._lock:
            self._objects = {item["metadata"]["uid"]: item for item in answer["items"]}
        self.listed.set()
        self._changed.set()
        return str(answer["metadata"]["resourceVersion"])

    def _take(self, event: dict[str, Any]) -> None:
        if event["type"] == "BOOKMARK":
            return
        uid = event["object"]["metadata"]["uid"]
        with self._lock:
            if event["type"] == "DELETED":
                self._objects.pop(uid, None)
            else:
                self._objects[uid] = event["object"]
        self._changed.set()


def follow_all(api: KubeApi, paths: dict[str, str], changed: threading.Event) -> dict[str, Mirror]:
    """Mirror every path in a thread of its own; return once each has been listed."""
    mirrors = {name: Mirror(api, path, changed) for name, path in paths.items()}
    for mirror in mirrors.values():
        threading.Thread(target=mirror.follow, daemon=True).start()
    for mirror in mirrors.values():
        mirror.listed.wait()
    return mirrors
