"""`kinema download` with nothing but a kubeconfig: a token, the API server's proxy, two operators and a real MinIO."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3
import yaml
from click.testing import Result

from integration.kubectl import Kubectl
from integration.operators import KINEMA, replica
from integration.server import REPOSITORY, Server, until
from integration.studio import NAME, PATIENCE_SECONDS, POD, Install, Studio, machine_address, namespaces, operators_pod
from integration.suite_store import KEYS, bucket
from kinema_api import generation, layout, links, names
from kinema_cli.cluster import Cluster
from kinema_cli.links import LinkOptions, upload_form
from kinema_operator.manifests import rbac

pytestmark = pytest.mark.apiserver

SAMPLE = REPOSITORY / "manifests" / "samples" / "download.yaml"
CLIP = b"an MP4"
BUCKET = "clips-by-address"
EDIT_ROLES = ("system:aggregate-to-edit", "kinema-edit")
"""Kubernetes' role edit, which only a controller manager would put together."""


@pytest.fixture(scope="module")
def install(server: Server, minio_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Install]:
    admin = Kubectl(server.kubeconfig, "default")
    folder = tmp_path_factory.mktemp("operators")
    system, namespace = namespaces(admin, "system", "studio")
    admin("apply", "-f", str(REPOSITORY / "manifests" / "rbac" / "users.yaml"))
    port = {"name": links.PORT_NAME, "port": 8081, "protocol": "TCP"}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": links.SERVICE}, "spec": {"ports": [port]}}
    admin("apply", "-n", system, "-f", "-", stdin=json.dumps(service))
    Kubectl(server.kubeconfig, system).apply(operators_pod())
    address = machine_address()
    Kubectl(server.kubeconfig, system).set_status("pod", POD, {"podIP": address, "podIPs": [{"ip": address}]})
    for manifest in rbac.operator_manifests(system):
        if manifest["metadata"]["name"] == rbac.LINKS_ROLE:
            admin("apply", "-n", system, "-f", "-", stdin=json.dumps(manifest))
    store = bucket(minio_endpoint, BUCKET)
    keys = folder / "credentials.json"
    keys.write_text(KEYS.model_dump_json(by_alias=True, exclude_none=True))
    settings = {
        "store_endpoint": minio_endpoint,
        "store_bucket": BUCKET,
        "store_credentials_file": keys,
        "log_level": "debug",
    }
    logs = [folder / f"operator-{number}.log" for number in range(2)]
    with (
        replica(server.kubeconfig, namespace, logs[0], KINEMA, pod_namespace=system, **settings) as first,
        replica(server.kubeconfig, namespace, logs[1], KINEMA, pod_namespace=system, **settings) as second,
    ):
        made = Install(admin, system, namespace, [first, second], logs, store)
        make_clip(made)

        async def ready() -> bool:
            return [await one.probe("/readyz") for one in made.replicas] == [200, 200]

        asyncio.run(until(ready, "both replicas are ready", PATIENCE_SECONDS))
        made.route_to(*made.replicas)
        yield made


def make_clip(install: Install) -> None:
    """A clip in the store, and the generation that the operator would have written."""
    namespace = install.namespace
    kubectl = Kubectl(install.admin.kubeconfig, namespace)
    spec = {"modelRef": {"name": "tiny"}, "prompt": "a red square moves right"}
    body = {"apiVersion": names.API_VERSION, "kind": generation.KIND, "metadata": {"name": NAME}, "spec": spec}
    kubectl("create", "-f", "-", stdin=json.dumps(body))
    uid = kubectl.get("vgen", NAME)["metadata"]["uid"]
    key = layout.generation_prefix(namespace, uid) + layout.VIDEO
    install.store.put(key, CLIP)
    video = {"uri": install.store.uri(key), "sha256": hashlib.sha256(CLIP).hexdigest(), "bytes": len(CLIP)}
    kubectl.set_status(
        "vgen", NAME, {"phase": "Succeeded", "video": {**video, "seconds": 1, "size": "24x24", "fps": 8}}
    )


@pytest.fixture
def studio(install: Install, tmp_path: Path) -> Studio:
    kubectl = Kubectl(install.admin.kubeconfig, install.namespace)
    kubectl("delete", "rolebindings", "--all")
    kubectl("delete", "serviceaccount", "person", "--ignore-not-found")
    kubectl("create", "serviceaccount", "person")
    for role in EDIT_ROLES:
        subject = f"--serviceaccount={install.namespace}:person"
        kubectl("create", "rolebinding", role.replace(":", "-"), f"--clusterrole={role}", subject)
    config = yaml.safe_load(install.admin.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": kubectl("create", "token", "person").strip()}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return Studio(install, file, tmp_path)


def allow(studio: Studio) -> None:
    """What README shows."""
    studio.install.admin("apply", "-n", studio.namespace, "-f", str(SAMPLE))
    until_allowed(studio)


def until_allowed(studio: Studio, account: str = "default") -> None:
    """The API server's own view of roles is a moment behind what it has stored."""
    question = ("auth", "can-i", "get", f"videogenerations.kinema.dev/{NAME}", "-n", studio.namespace)

    async def allowed() -> bool:
        who = f"--as=system:serviceaccount:{studio.namespace}:{account}"
        return (await asyncio.to_thread(studio.install.admin.ask, *question, who)).code == 0

    asyncio.run(until(allowed, "the account may read clips"))


def test_somebody_with_a_kubeconfig_gets_the_clip_and_no_status_holds_an_address(studio: Studio) -> None:
    allow(studio)
    done = studio.download("--json")
    assert done.exit_code == 0, done.output
    assert studio.clip == CLIP
    assert json.loads(done.stdout)["sha256"] == hashlib.sha256(CLIP).hexdigest()
    assert "url" not in Kubectl(studio.install.admin.kubeconfig, studio.namespace).get("vgen", NAME)["status"]["video"]


def test_the_error_of_an_account_without_the_right_is_the_command_that_gives_it(studio: Studio) -> None:
    studio.install.admin("create", "serviceaccount", "newcomer", "-n", studio.namespace)
    refused = studio.download("--account", "newcomer")
    assert refused.exit_code == 3, refused.output
    assert f"system:serviceaccount:{studio.namespace}:newcomer may not get" in refused.stderr
    command = shlex.split(refused.stderr.partition("allow it: ")[2])
    assert command[0] == "kubectl"
    studio.install.admin(*command[1:])
    until_allowed(studio, "newcomer")
    allowed = studio.download("--account", "newcomer")
    assert allowed.exit_code == 0, allowed.output
    assert studio.clip == CLIP


def test_a_standby_answers_as_the_leader_does(studio: Studio) -> None:
    allow(studio)
    leader = studio.install.leading()
    (standby,) = (one for one in studio.install.replicas if one is not leader)
    try:
        for one in (standby, leader):
            studio.install.route_to(one)
            done = studio.download()
            assert done.exit_code == 0, done.output
    finally:
        studio.install.route_to(*studio.install.replicas)


def test_a_pod_with_a_projected_token_needs_no_kubeconfig(studio: Studio) -> None:
    allow(studio)
    direct = f"http://127.0.0.1:{studio.install.replicas[0].links_port}"
    token = studio.token_file(links.AUDIENCE)
    studio.kubeconfig.write_text("not: a kubeconfig")
    done = studio.download("--token-file", str(token), "--links-url", direct)
    assert done.exit_code == 0, done.output
    assert studio.clip == CLIP


@pytest.mark.parametrize("audience", ["https://kubernetes.default.svc", "somebody-else"])
def test_a_token_for_another_audience_opens_nothing(studio: Studio, audience: str) -> None:
    allow(studio)
    refused = studio.download("--token-file", str(studio.token_file(audience)))
    assert refused.exit_code == 3, refused.output
    assert links.AUDIENCE in refused.stderr
    assert not (studio.folder / "clip.mp4").exists()


def test_an_account_of_one_namespace_gets_no_clip_of_another(studio: Studio) -> None:
    allow(studio)
    (elsewhere,) = namespaces(studio.install.admin, "other")
    token = studio.token_file(links.AUDIENCE, elsewhere)
    refused = studio.download("--token-file", str(token))
    assert refused.exit_code == 3, refused.output
    assert f"system:serviceaccount:{elsewhere}:default may not get" in refused.stderr


def test_where_no_operator_answers_the_error_says_so(studio: Studio) -> None:
    allow(studio)
    (empty,) = namespaces(studio.install.admin, "empty")
    subject = f"--serviceaccount={studio.namespace}:person"
    right = ("--verb=get", "--resource=services/proxy")
    studio.install.admin("create", "role", "proxy", *right, "-n", empty)
    studio.install.admin("create", "rolebinding", "proxy", "--role=proxy", subject, "-n", empty)
    absent = studio.download(system=empty)
    assert (absent.exit_code, "--operator-namespace" in absent.stderr) == (3, True), absent.output
    forbidden = studio.download(system="default")
    assert (forbidden.exit_code, "--links-url" in forbidden.stderr) == (3, True), forbidden.output
    try:
        studio.install.route_to()
        silent = studio.download()
    finally:
        studio.install.route_to(*studio.install.replicas)
    assert (silent.exit_code, "does not respond" in silent.stderr) == (3, True), silent.output


def test_the_way_through_the_api_server_leads_to_addresses_alone(studio: Studio) -> None:
    person = Kubectl(studio.kubeconfig, studio.namespace)
    base = f"/api/v1/namespaces/{studio.install.system}/services"
    for place in (f"{links.SERVICE}:8081", links.SERVICE, f"http:{links.SERVICE}:{links.PORT_NAME}", "minio:9000"):
        refused = person.ask("get", "--raw", f"{base}/{place}/proxy/metrics")
        assert "forbidden" in refused.err.lower(), (place, refused)
    for path in ("metrics", "healthz", "readyz"):
        absent = person.ask("get", "--raw", f"{base}/{links.SERVICE}:{links.PORT_NAME}/proxy/{path}")
        assert "could not find" in absent.err, (path, absent)


def test_no_token_is_logged(studio: Studio) -> None:
    token = studio.token_file(links.AUDIENCE)
    studio.download("--token-file", str(token))
    for log in studio.install.logs:
        assert token.read_text().strip() not in log.read_text()
        assert os.path.getsize(log)


PICTURE = b"\x89PNG, or nearly"


def ask_with_file(studio: Studio, name: str, *arguments: str) -> Result:
    """Ask for a clip that begins with a picture of this machine. Its model is not there, so it is not waited for."""
    file = studio.folder / "first frame.png"
    file.write_bytes(PICTURE)
    words = ("generate", "a red square", "--model", "tiny", "--task", "image", "--input", str(file), "--name", name)
    return studio.kinema(*words, "-n", studio.namespace, "--timeout", "0", *arguments)


def stored(studio: Studio, name: str) -> str:
    """Where the upload of a generation lies."""
    uid = Kubectl(studio.install.admin.kubeconfig, studio.namespace).get("vgen", name)["metadata"]["uid"]
    return layout.generation_uploads_prefix(studio.namespace, uid) + "input"


def maker(studio: Studio) -> str:
    """A service account that may upload."""
    name = f"maker-{uuid.uuid4().hex[:6]}"
    studio.install.admin("create", "serviceaccount", name, "-n", studio.namespace)
    subject = f"--serviceaccount={studio.namespace}:{name}"
    studio.install.admin("create", "rolebinding", name, "--clusterrole=kinema-edit", subject, "-n", studio.namespace)
    until_allowed(studio, name)
    return name


def test_a_file_of_this_machine_is_uploaded_and_goes_with_its_request(studio: Studio) -> None:
    asked = ask_with_file(studio, "with-file", "--account", maker(studio))
    assert asked.exit_code == 4, asked.output
    spec = Kubectl(studio.install.admin.kubeconfig, studio.namespace).get("vgen", "with-file")["spec"]
    assert spec["input"]["upload"] == {"sha256": hashlib.sha256(PICTURE).hexdigest(), "bytes": len(PICTURE)}
    key = stored(studio, "with-file")
    assert studio.install.store.get(key) == PICTURE
    cancelled = studio.kinema_without_operator("cancel", "with-file", "-n", studio.namespace)
    assert cancelled.exit_code == 0, cancelled.output

    async def gone() -> bool:
        return studio.install.store.stat(key) is None

    asyncio.run(until(gone, "the upload of a cancelled request is deleted", PATIENCE_SECONDS))


def test_an_account_that_may_not_upload_is_told_how_and_leaves_no_request_waiting(studio: Studio) -> None:
    allow(studio)
    refused = ask_with_file(studio, "no-file")
    assert refused.exit_code == 3, refused.output
    assert "--clusterrole=kinema-edit" in refused.stderr
    assert Kubectl(studio.install.admin.kubeconfig, studio.namespace).get("vgen", "no-file")["spec"]["cancel"] is True


def test_the_store_takes_no_other_length_than_the_spec_says(studio: Studio) -> None:
    account = maker(studio)
    ask_with_file(studio, "measured", "--account", account)
    cluster = Cluster.connect(str(studio.kubeconfig), None, studio.namespace)
    asking = LinkOptions(account=account, operator_namespace=studio.install.system)
    url, fields = upload_form(asking, cluster, "measured", "input")
    for content, status in ((PICTURE, 204), (PICTURE + b"!", 400), (b"", 400)):
        form = {**fields, "file": ("file", content)}
        assert urllib3.request("POST", url, fields=form).status == status
    elsewhere = {**fields, "key": fields["key"].replace("measured", "other") + "x", "file": ("file", PICTURE)}
    assert urllib3.request("POST", url, fields=elsewhere).status == 403
