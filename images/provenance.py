"""Says in SLSA's terms from which commit and by which run of which workflow something was released.

Read from the environment that GitHub Actions, or what offers the same, gives to a job. The signature over it, whose
certificate names the workflow, is what makes it worth anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

PREDICATE_TYPE: Final = "slsaprovenance1"
BUILD_TYPE: Final = "https://actions.github.io/buildtypes/workflow/v1"
"""Names the meaning of the fields below; SLSA defines it for workflows of this kind."""
NEEDED: Final = (
    "GITHUB_SERVER_URL",
    "GITHUB_REPOSITORY",
    "GITHUB_REF",
    "GITHUB_SHA",
    "GITHUB_WORKFLOW_REF",
    "GITHUB_EVENT_NAME",
    "GITHUB_RUN_ID",
    "GITHUB_RUN_ATTEMPT",
)


def missing(environment: Mapping[str, str]) -> list[str]:
    """Variables without which there is no provenance."""
    return [name for name in NEEDED if not environment.get(name)]


def predicate(environment: Mapping[str, str]) -> dict[str, Any]:
    """The predicate of an attestation (https://slsa.dev/provenance/v1)."""
    server, name, ref, commit, workflow, event, run, attempt = (environment[variable] for variable in NEEDED)
    repository = f"{server}/{name}"
    path = workflow.removeprefix(f"{name}/").split("@", 1)[0]
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {"workflow": {"ref": ref, "repository": repository, "path": path}},
            "internalParameters": {"github": {"event_name": event}},
            "resolvedDependencies": [{"uri": f"git+{repository}@{ref}", "digest": {"gitCommit": commit}}],
        },
        "runDetails": {
            "builder": {"id": f"{server}/{workflow}"},
            "metadata": {"invocationId": f"{repository}/actions/runs/{run}/attempts/{attempt}"},
        },
    }
