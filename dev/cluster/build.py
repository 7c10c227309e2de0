"""Builds the cluster's programs from Go modules into the cache, each once per version.

Nothing here needs a container registry. A wrapper module is written for each program, because
`go install module@version` ignores `replace` directives, which Kubernetes cannot be built without.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import pins
from .errors import BuildError
from .golang import Go, find_go
from .progress import part
from .settings import Settings

KUBERNETES_PROGRAMS = (
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
)
DEFAULT = (*KUBERNETES_PROGRAMS, "etcd", "coredns", "minio", "pause")
API_ONLY = ("kube-apiserver", "kube-controller-manager", "etcd")
WRAPPER_GO = "go 1.24.0"

PAUSE_SOURCE = """package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			os.Exit(0)
		}
		for {
			if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
}
"""


@dataclass(frozen=True)
class Program:
    """One program as a Go module knows it."""

    module: str
    package: str
    version: str


MODULES = {
    "etcd": Program("go.etcd.io/etcd/server/v3", "go.etcd.io/etcd/server/v3", pins.ETCD),
    "coredns": Program("github.com/coredns/coredns", "github.com/coredns/coredns", pins.COREDNS),
    "minio": Program("github.com/minio/minio", "github.com/minio/minio", pins.MINIO),
    "helm": Program("helm.sh/helm/v3", "helm.sh/helm/v3/cmd/helm", pins.HELM),
    "kind": Program("sigs.k8s.io/kind", "sigs.k8s.io/kind", pins.KIND),
    "kwok": Program("sigs.k8s.io/kwok", "sigs.k8s.io/kwok/cmd/kwok", pins.KWOK),
    "actionlint": Program("github.com/rhysd/actionlint", "github.com/rhysd/actionlint/cmd/actionlint", pins.ACTIONLINT),
    "cosign": Program("github.com/sigstore/cosign/v2", "github.com/sigstore/cosign/v2/cmd/cosign", pins.COSIGN),
}
NAMES = (*KUBERNETES_PROGRAMS, "pause", *MODULES)


def binary_path(settings: Settings, name: str) -> Path:
    """Where the program `name` of this invocation's version lies, built or not.

    Raises:
        BuildError: no such program.
    """
    if name in KUBERNETES_PROGRAMS:
        return settings.binary(name, settings.kubernetes)
    if name == "pause":
        return settings.binary(name, pins.PAUSE)
    if name in MODULES:
        return settings.binary(name, MODULES[name].version)
    raise BuildError(f"There is no program {name!r}; choose among {', '.join(NAMES)}.")


def ensure_binaries(settings: Settings, names: Sequence[str] = DEFAULT) -> None:
    """Build those of `names` that are not there yet; prints the seconds of each.

    Raises:
        BuildError: one did not build.
    """
    missing = [name for name in names if not binary_path(settings, name).exists()]
    if not missing:
        return
    settings.binaries.mkdir(parents=True, exist_ok=True)
    go = find_go(settings.cache)
    kubernetes = [name for name in missing if name in KUBERNETES_PROGRAMS]
    if kubernetes:
        _build_kubernetes(settings, go, kubernetes)
    for name in missing:
        if name == "pause":
            _in_workspace(settings, name, lambda folder: _build_pause(settings, go, folder))
        elif name in MODULES:
            _build_module(settings, go, name)


def _in_workspace(settings: Settings, name: str, build: Callable[[Path], None]) -> None:
    folder = settings.cache / "build" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with part(f"build {name}"):
        build(folder)
    shutil.rmtree(folder)


def _build_pause(settings: Settings, go: Go, folder: Path) -> None:
    (folder / "go.mod").write_text(f"module pause\n\n{WRAPPER_GO}\n")
    (folder / "main.go").write_text(PAUSE_SOURCE)
    go.build("pause", ".", binary_path(settings, "pause"), folder)


def _build_module(settings: Settings, go: Go, name: str) -> None:
    program = MODULES[name]

    def build(folder: Path) -> None:
        source = _download(go, program.module, program.version, folder)
        # The module's own requirements are taken over whole: what is built is what it was tested with.
        requirements = (source / "go.mod").read_text()
        body = re.sub(r"^module .*$|^.*=>\s*\.\.?/.*$", "", requirements, flags=re.MULTILINE)
        own = f"require {program.module} {program.version}\n"
        (folder / "go.mod").write_text(f"module {name}binary\n{body}\n{own}")
        if (source / "go.sum").exists():
            shutil.copyfile(source / "go.sum", folder / "go.sum")
            (folder / "go.sum").chmod(0o644)
        go.build(name, program.package, binary_path(settings, name), folder)

    _in_workspace(settings, name, build)


def _build_kubernetes(settings: Settings, go: Go, programs: Sequence[str]) -> None:
    version = settings.kubernetes

    def build(folder: Path) -> None:
        source = _download(go, "k8s.io/kubernetes", f"v{version}", folder)
        (folder / "go.mod").write_text(kubernetes_wrapper((source / "go.mod").read_text(), version))
        imports = "".join(f'\t_ "k8s.io/kubernetes/cmd/{name}/app"\n' for name in KUBERNETES_PROGRAMS)
        tools = f"//go:build tools\n\npackage tools\n\nimport (\n{imports})\n"
        (folder / "tools.go").write_text(tools)
        with part(f"kubernetes {version} modules"):
            go.output(["mod", "tidy"], folder)
        major, minor, _ = version.split(".")
        stamps = {"gitVersion": f"v{version}", "gitMajor": major, "gitMinor": minor}
        ldflags = "-s -w " + " ".join(
            f"-X k8s.io/component-base/version.{key}={value}" for key, value in stamps.items()
        )
        for name in programs:
            with part(f"  {name}"):
                package = f"k8s.io/kubernetes/cmd/{name}"
                go.build(name, package, binary_path(settings, name), folder, ldflags)

    _in_workspace(settings, f"kubernetes-{version}", build)


def kubernetes_wrapper(go_mod: str, version: str) -> str:
    """A go.mod that builds Kubernetes `version` from outside its repository.

    Its own go.mod points the staging modules at ./staging, which a module download does not hold; the same
    code is published as v0.MINOR.PATCH.
    """
    staging = sorted(set(re.findall(r"(k8s\.io/[\w-]+) => \./staging", go_mod)))
    published = "v0." + version.split(".", 1)[1]
    replacements = "".join(f"\t{module} => {module} {published}\n" for module in staging)
    return (
        f"module clusterbinaries\n\n{WRAPPER_GO}\n\n"
        f"require k8s.io/kubernetes v{version}\n\nreplace (\n{replacements})\n"
    )


def _download(go: Go, module: str, version: str, cwd: Path) -> Path:
    """Download a module, return its folder in the module cache."""
    answer = json.loads(go.output(["mod", "download", "-json", f"{module}@{version}"], cwd))
    return Path(answer["Dir"])
