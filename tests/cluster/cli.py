"""The command line: `python tests/cluster up | down | status | build | load | gpu | start | stop | verify-clean`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import build
from .errors import ClusterError
from .native import NativeCluster
from .policy import enforce
from .settings import Settings

Handler = Callable[[Settings, argparse.Namespace], int]


def main(arguments: Sequence[str]) -> int:
    """Run one verb; the exit code is 0, 1 (failed), 2 (wrong use) or 3 (no cluster possible on this machine)."""
    options = _parser().parse_args(arguments)
    try:
        handler: Handler = options.handler
        return handler(Settings.from_environment(), options)
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python tests/cluster", description="The development cluster.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, handler: Handler, explanation: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=explanation, description=explanation)
        sub.set_defaults(handler=handler)
        return sub

    verb("up", _up, "bring the cluster up; a second call is quick")
    builder = verb("build", _build, "build programs into the cache")
    builder.add_argument("names", nargs="*", choices=[*build.NAMES, []], default=[], metavar="NAME")
    loader = verb("load", _load, "load image archives into every node")
    loader.add_argument("archives", nargs="+", type=Path, metavar="FILE.tar")
    enforcer = verb("enforce-policies", _enforce, "(started by `up`) enforce NetworkPolicies")
    enforcer.add_argument("--kubeconfig", type=Path, required=True)
    enforcer.add_argument("--nodes", type=int, required=True)
    return parser


def _up(settings: Settings, _: argparse.Namespace) -> int:
    NativeCluster(settings).up()
    return 0


def _build(settings: Settings, options: argparse.Namespace) -> int:
    build.ensure_binaries(settings, options.names or build.DEFAULT)
    for name in options.names or build.DEFAULT:
        print(build.binary_path(settings, name))
    return 0


def _load(settings: Settings, options: argparse.Namespace) -> int:
    for archive in options.archives:
        NativeCluster(settings).load(archive)
    return 0


def _enforce(_: Settings, options: argparse.Namespace) -> int:
    enforce(options.kubeconfig, options.nodes)
    return 0
