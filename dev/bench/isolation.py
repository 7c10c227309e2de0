"""make bench NAME=isolation: how long the bad store of one namespace delays the reconciles of another one.

One operator runs against a real API server. For each kind of bad store 60 resources of one namespace name such a store.
While they are reconciled, trainings that use the operator's own store are created in another namespace, one a second;
the delay is the time from the creation of one to the first condition in its status. The operator's memory is its peak.
Environment: KINEMA_BENCH_OBJECTS (60), KINEMA_BENCH_SAMPLES (8).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cluster.apiserver import ApiServer
from integration.operators import Replica
from integration.server import install_crds, make_namespace, until
from kinema_api import names
from kinema_api.training import KIND
from kinema_operator.shell.client import Client
from kinema_operator.shell.connection import Connection
from stage.bad_stores import KEYS, bad_store
from stage.measure import machine, result
from stage.objects import resource

OBJECTS = int(os.environ.get("KINEMA_BENCH_OBJECTS", "60"))
SAMPLES = int(os.environ.get("KINEMA_BENCH_SAMPLES", "8"))
KINDS = ("silent", "dripping", "dripping-body", "endless", "redirecting", "html", "refusing", "huge-manifest")
SYSTEM, OTHER = "kinema-system", "other"
LIMIT_SECONDS = 120.0
EVERYWHERE = (
    "-c",
    "import os, runpy; del os.environ['KINEMA_WATCH_NAMESPACE']; "
    "runpy.run_module('kinema_operator', run_name='__main__')",
)
"""The operator, watching all namespaces."""
DIGEST = "sha256:" + "0" * 64


def training(namespace: str, name: str, store: dict[str, Any] | None = None) -> dict[str, Any]:
    """A small training; without a `store` it uses the operator's own."""
    spec: dict[str, Any] = {
        "model": {"preset": "tiny"},
        "data": {"world": {"seed": 1}},
        "optimization": {"steps": 100},
        "nodes": 1,
    }
    return resource(KIND, name, spec | ({"artifactStore": store} if store else {}), namespace)


def crowd(namespace: str, store: dict[str, Any]) -> list[dict[str, Any]]:
    """Resources of all kinds that name the store."""
    made = []
    for number in range(OBJECTS):
        name = f"r-{number:03d}"
        if number % 3 == 0:
            made.append(training(namespace, name, store))
        elif number % 3 == 1:
            spec: dict[str, Any] = {"source": {"digest": DIGEST}, "artifactStore": store}
            made.append(resource("VideoModel", name, spec, namespace))
        else:
            spec = {"modelRef": {"name": f"r-{number - 1:03d}"}, "prompt": "a red square", "artifactStore": store}
            made.append(resource("VideoGeneration", name, spec, namespace))
    return made


async def delays(client: Client, kind: str) -> list[float]:
    """Seconds from creation to the first condition, for trainings of the other namespace."""
    found = []
    for number in range(SAMPLES):
        name = f"{kind}-{number}"
        begun = time.monotonic()
        await client.create(training(OTHER, name))

        async def has_conditions(name: str = name) -> bool:
            seen = await client.get(KIND, OTHER, name)
            return bool(((seen or {}).get("status") or {}).get("conditions"))

        await until(has_conditions, f"a condition of {name}", LIMIT_SECONDS)
        found.append(time.monotonic() - begun)
        await asyncio.sleep(max(0.0, 1.0 - found[-1]))
    return found


async def one_kind(connection: Connection, client: Client, kind: str) -> float:
    """The worst delay beside one kind of bad store."""
    namespace = f"bad-{kind}"
    await make_namespace(connection, namespace)
    labels = {names.LABEL_STORE_KEYS: "true"}
    metadata = {"name": "keys", "namespace": namespace, "labels": labels}
    await client.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": KEYS})
    with bad_store(kind) as bad:
        store = {"endpoint": bad.endpoint, "bucket": "bucket", "secretRef": {"name": "keys"}}
        await asyncio.gather(*(client.create(made) for made in crowd(namespace, store)))
        worst = max(await delays(client, kind))
        print(f"{kind}: {worst:.2f} s at most, {bad.hits} requests to the store", flush=True)
    return worst


def peak_kib(pid: int) -> int:
    """The most memory that a process has had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


async def measure(folder: Path) -> dict[str, Any]:
    """All kinds, one after the other, beside one operator."""
    with ApiServer(folder / "apiserver") as server, bad_store("good") as own:
        await install_crds(server.kubeconfig)
        connection = await Connection.load(server.kubeconfig, "bench")
        client = Client(connection, 15.0)
        for namespace in (SYSTEM, OTHER):
            await make_namespace(connection, namespace)
        keys = folder / "credentials.json"
        keys.write_text(json.dumps(KEYS))
        os.environ["KINEMA_ALLOWED_STORES"] = '["http://127.0.0.1:*"]'
        replica = Replica(
            server.kubeconfig,
            SYSTEM,
            folder / "operator.log",
            EVERYWHERE,
            store_endpoint=own.endpoint,
            store_bucket="bucket",
            store_credentials_file=keys,
        )
        try:
            await until(replica.leads, "the operator leads", 60)
            worst = {kind: await one_kind(connection, client, kind) for kind in KINDS}
            peak = peak_kib(replica.process.pid)
        except BaseException:
            print((folder / "operator.log").read_text()[-4000:])
            raise
        finally:
            replica.process.kill()
            replica.process.wait(30)
            await client.close()
    return {
        "other_delay_s": round(max(worst.values()), 2),
        "operator_rss_mib": round(peak / 1024, 1),
        "delay_by_kind_s": {kind: round(delay, 2) for kind, delay in worst.items()},
    }


def main() -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "apiserver").mkdir()
        figures = asyncio.run(measure(Path(folder)))
    result("isolation", samples=len(KINDS) * SAMPLES, machine=machine(), objects=OBJECTS, **figures)
    return 0


if __name__ == "__main__":
    sys.exit(main())
