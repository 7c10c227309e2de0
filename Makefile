# `make` alone explains the verbs.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= $(or $(wildcard /usr/bin/python3),python3)
TOOLS := $(HOME)/.cache/kinema/tools
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH):$(TOOLS)/bin
STAMP := $(VENV)/.synced
# Real processes on a busy machine: one more try, which the summary shows as rerun.
AGAIN := --reruns 1
# Quick unit tests spend half of their time waiting for sockets, leases and processes, so there are more of them than cores.
QUICK := -n 4 --dist worksteal
# Integration tests mostly wait, so slow unit tests run beside them; tests of a file share its servers and its models.
SIDE_BY_SIDE := -n 3 --dist loadfile
# To read the types of torch and others takes mypy a minute; a fresh checkout begins with what another one has read.
TYPES := $(HOME)/.cache/kinema/mypy
PROGRAMS := etcd kube-apiserver kube-controller-manager minio helm
LOCK_FLAGS = --quiet $(if $(UPGRADE),--upgrade) --generate-hashes --no-emit-index-url --python-version 3.11 --no-header

.PHONY: help demo test soak chaos upgrade-test check integration generate cluster cluster-down bench figures gpu-proof lock \
  images wheel chart-package release-images release docs uv

help:  ## Explain the verbs
	@echo "Kinema: train and serve video models on Kubernetes"; echo
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

uv:
	@command -v uv >/dev/null || $(PYTHON) -m pip install -q --target $(TOOLS) uv \
	  || { echo "make needs uv: install it (pipx install uv) or pip for $(PYTHON), then try again" >&2; exit 1; }

# The system's Python is preferred: worker pods of the bare-machine cluster see the machine's /usr.
$(STAMP): requirements/dev.txt pyproject.toml | uv
	@echo "==> Python environment in $(VENV) (6 GB with torch; progress follows)"
	@uv venv -q --allow-existing --python $(PYTHON) $(VENV)
	@uv pip sync --compile-bytecode --python $(BIN)/python requirements/dev.txt
	@uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@

demo: $(STAMP)  ## From nothing to a trained model and a clip, on a real cluster (or locally where there can be none)
	@$(BIN)/python demo

test: $(STAMP)  ## Everything that must hold: check, a real API server, behaviour and faults on the real cluster
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory integration
	@$(MAKE) --no-print-directory cluster
	@$(BIN)/python -m pytest $(AGAIN) -m 'not soak' tests/e2e

integration: $(STAMP)  ## Tests against a real API server, object store, chart and local trainers; slow unit tests; no cluster
	@$(BIN)/python dev/cluster build $(PROGRAMS) >/dev/null
	@$(BIN)/python -m pytest $(AGAIN) $(SIDE_BY_SIDE) -m 'not soak and (integration or slow)' tests/integration tests/unit

soak: $(STAMP) cluster  ## What takes long: all examples of property tests, every sample judged, every pair of faults
	@$(BIN)/python dev/cluster build $(PROGRAMS) >/dev/null
	@KINEMA_EXAMPLES=1 $(BIN)/python -m pytest -q $(AGAIN) $(QUICK) tests/unit
	@$(BIN)/python -m pytest $(AGAIN) $(SIDE_BY_SIDE) -m soak tests/integration
	@$(BIN)/python -m pytest $(AGAIN) -m soak tests/e2e
	@KINEMA_CHAOS_PAIRS=all $(BIN)/python dev/chaos

chaos: $(STAMP) cluster  ## Faults, alone and in pairs, against a training and generations (KINEMA_CHAOS_SEED, KINEMA_CHAOS_ONLY)
	@$(BIN)/python dev/chaos

upgrade-test: $(STAMP) cluster  ## make upgrade-test FROM=<rev>: from that revision to this one, with a training and a model at work
	@$(BIN)/python dev/upgrade $(FROM)

check: $(STAMP)  ## Format, lint, types, import contracts, generated files, workflows, quick unit tests (two minutes)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@[ -d .mypy_cache ] || cp -r $(TYPES) .mypy_cache 2>/dev/null || true
	@$(BIN)/mypy
	@[ $(TYPES) -nt requirements/dev.txt ] \
	  || { cp -r .mypy_cache $(TYPES).$$$$ && rm -rf $(TYPES) && mv $(TYPES).$$$$ $(TYPES); }
	@$(BIN)/lint-imports
	@$(BIN)/python -m kinema_operator.manifests --check
	@$$($(BIN)/python dev/cluster path actionlint)
	@$(BIN)/python -m pytest -q $(AGAIN) $(QUICK) -m 'not soak and not slow' tests/unit

generate: $(STAMP)  ## Write CRDs, RBAC, the chart's copies and the API reference from the types
	@$(BIN)/python -m kinema_operator.manifests

cluster: $(STAMP)  ## A working cluster: KINEMA_CLUSTER=kubeconfig uses KUBECONFIG's, else kind, else one built here (K8S=<version>)
	@$(BIN)/python dev/cluster up

cluster-down:  ## Take the cluster away and leave nothing behind
	@$(PYTHON) dev/cluster down

images: $(STAMP)  ## Build the control-plane image (and the worker image with WORKER=1)
	@$(BIN)/python images/build.py $(if $(WORKER),--worker)

docs: $(STAMP)  ## Build the documentation as a site into out/docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	@echo out/docs/index.html

wheel: uv  ## Build the distribution into dist/
	@uv build --quiet --wheel --out-dir dist
	@ls dist/*.whl

chart-package:  ## Package the chart, as it is in charts/kinema, into dist/
	@$$($(PYTHON) dev/cluster path helm) package charts/kinema --destination dist

release-images: uv  ## Build this processor's images and push them to KINEMA_REGISTRY, with what they hold (images/release.py)
	@$(PYTHON) images/release.py images

release: wheel  ## After release-images on every processor: indexes, chart, signatures, provenance
	@$(PYTHON) images/release.py publish

bench: $(STAMP)  ## make bench NAME=demo_model|feed|finetune|isolation|learning|mfu|moderation|prepare|reader|reconcile|recovery|step|streaming|watermark: measure; ends in one JSON line
	@$(BIN)/python dev/bench/$(NAME).py

figures: $(STAMP)  ## How the code is built: contracts, imports, lengths, types, docstrings; ends in one JSON line
	@$(BIN)/python dev/figures

gpu-proof: $(STAMP)  ## Train on the whole world and hold the model to its bars; call again while it exits 75 (PROOF_SCALE=0.01 rehearses)
	@$(BIN)/python dev/proof

lock: $(STAMP)  ## Pin all requirements, with hashes; what is pinned stays as it is (UPGRADE=1: everything anew)
	@uv pip compile pyproject.toml requirements/encoder.in --all-extras $(LOCK_FLAGS) -o requirements/dev.txt
	@uv pip compile pyproject.toml --extra operator --extra cli $(LOCK_FLAGS) -o requirements/control-plane.txt
	@uv pip compile pyproject.toml requirements/encoder.in --extra train --extra serve --extra prepare $(LOCK_FLAGS) -o requirements/worker.txt
