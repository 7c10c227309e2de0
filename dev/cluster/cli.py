"""The command line: `python dev/cluster VERB`; every verb explains itself with --help."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import build
from .agent import Agent
from .apiserver import ApiServer
from .choice import choose_cluster, native_cluster
from .errors import ClusterError
from .extended import advertise_gpus
from .kubeapi import KubeApi
from .monitoring import targets_path
from .progress import say
from .settings import REPOSITORY, Settings
from .status import print_status
from .teardown import leftovers
from .worker_image import worker_image

Handler = Callable[[Settings, argparse.Namespace], int]


def main(arguments: Sequence[str]) -> int:
    """Run one verb; exit code 0, 1 (failed), 2 (wrong use) or 3 (no cluster possible on this machine)."""
    options = _parser().parse_args(arguments)
    try:
        handler: Handler = options.handler
        return handler(Settings.from_environment(), options)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python dev/cluster", description="The development cluster.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, handler: Handler, explanation: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=explanation, description=explanation)
        sub.set_defaults(handler=handler)
        return sub

    verb("up", _up, "bring the cluster up; a second call is quick")
    verb("down", _down, "take the cluster away, leave nothing behind")
    verb("status", _status, "show the parts and their memory")
    verb("verify-clean", _verify_clean, "list what a cluster left behind; fails if there is anything")
    _add_build_verbs(verb)
    _add_node_verbs(verb)
    agent = verb("agent", _agent, "(started by `up`) follow the cluster's objects")
    agent.add_argument("--kubeconfig", type=Path, required=True)
    server = verb("api-only", _api_only, "run only etcd and an API server on loopback, until interrupted")
    server.add_argument("--dir", type=Path, required=True, help="folder for its state")
    server.add_argument("--port", type=int, default=0, help="port of the API server; a free one by default")
    server.add_argument("--controller-manager", action="store_true", help="run that, too")
    return parser


def _add_build_verbs(verb: Callable[[str, Handler, str], argparse.ArgumentParser]) -> None:
    builder = verb("build", _build, "build programs into the cache and print their paths")
    builder.add_argument("names", nargs="*", metavar="NAME", help=", ".join(build.NAMES))
    path = verb("path", _path, "print the path of one program, building it if need be")
    path.add_argument("name", metavar="NAME")
    loader = verb("load", _load, "load image archives into every node")
    loader.add_argument("archives", nargs="+", type=Path, metavar="FILE.tar")
    image = verb("worker-image", _worker_image, "load a host-python image for a checkout")
    image.add_argument("reference", help="such as localhost/kinema/worker-host:mine")
    image.add_argument("--checkout", type=Path, default=REPOSITORY)


def _add_node_verbs(verb: Callable[[str, Handler, str], argparse.ArgumentParser]) -> None:
    for name, handler, explanation in (
        ("start", _start, "start one part or node again"),
        ("stop", _stop, "stop one part; a node as by a power cut"),
    ):
        verb(name, handler, explanation).add_argument("part")
    gpu = verb("gpu", _gpu, "let a node advertise nvidia.com/gpu")
    gpu.add_argument("node")
    gpu.add_argument("count", type=int)


def _up(settings: Settings, _: argparse.Namespace) -> int:
    choose_cluster(settings).up()
    kubectl = REPOSITORY / ".venv" / "bin" / "kubectl"
    say("the cluster is up; to use it:")
    print(f"  export KUBECONFIG={settings.kubeconfig}")
    print(f"  {kubectl if kubectl.exists() else 'kubectl'} get nodes")
    return 0


def _down(settings: Settings, _: argparse.Namespace) -> int:
    choose_cluster(settings).down()
    return 0


def _status(settings: Settings, _: argparse.Namespace) -> int:
    return 0 if print_status(native_cluster(settings)) else 1


def _verify_clean(settings: Settings, _: argparse.Namespace) -> int:
    found = leftovers(settings)
    print("\n".join(found) if found else "clean")
    return 1 if found else 0


def _build(settings: Settings, options: argparse.Namespace) -> int:
    names = options.names or build.DEFAULT
    paths = [build.binary_path(settings, name) for name in names]
    build.ensure_binaries(settings, names)
    print("\n".join(map(str, paths)))
    return 0


def _path(settings: Settings, options: argparse.Namespace) -> int:
    path = build.binary_path(settings, options.name)
    build.ensure_binaries(settings, [options.name])
    print(path)
    return 0


def _load(settings: Settings, options: argparse.Namespace) -> int:
    cluster = choose_cluster(settings)
    for archive in options.archives:
        cluster.load(archive)
    return 0


def _worker_image(settings: Settings, options: argparse.Namespace) -> int:
    cluster = native_cluster(settings)
    image = worker_image(cluster.worker_mounts(), options.checkout.resolve(), options.reference)
    cluster.load_images([image])
    return 0


def _start(settings: Settings, options: argparse.Namespace) -> int:
    started = native_cluster(settings).start_component(options.part)
    say(f"{options.part}: {'started' if started else 'was running'}")
    return 0


def _stop(settings: Settings, options: argparse.Namespace) -> int:
    stopped = native_cluster(settings).stop_component(options.part)
    say(f"{options.part}: {'stopped' if stopped else 'was not running'}")
    return 0


def _gpu(settings: Settings, options: argparse.Namespace) -> int:
    advertise_gpus(settings.state, KubeApi(settings.kubeconfig), options.node, options.count)
    return 0


def _agent(settings: Settings, options: argparse.Namespace) -> int:
    targets = targets_path(settings.state)
    Agent(options.kubeconfig, settings.state, settings.nodes, targets).run()
    return 0


def _api_only(settings: Settings, options: argparse.Namespace) -> int:
    # Ends the context below like an interrupt from the keyboard does, at whatever point it has reached.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    manager = options.controller_manager
    with ApiServer(options.dir, port=options.port, controller_manager=manager, settings=settings) as server:
        say(f"ready; export KUBECONFIG={server.kubeconfig}; audit log {server.audit_log}")
        signal.pause()
    return 0
