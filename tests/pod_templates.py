"""Pod templates that are refused, with a part of the message, and those that are taken."""

from __future__ import annotations

from typing import Any, Final

Template = dict[str, Any]


def _env(name: str, value: str = "1") -> Template:
    return {"env": [{"name": name, "value": value}]}


def _volume(path: str = "/mnt/a", name: str = "a", **source: Any) -> Template:
    return {"volumes": [{"name": name, "mountPath": path, **(source or {"emptyDir": {}})}]}


def _toleration(**fields: Any) -> Template:
    return {"tolerations": [fields]}


def _nodes(**expression: Any) -> Template:
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


def _pods(**selector: Any) -> Template:
    term = {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
    return {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}


REFUSED: Final[list[tuple[Template, str]]] = [
    *(
        ({"labels": {key: "x"}}, "use a prefix of your own")
        for key in ("kinema.dev/run", "app.kubernetes.io/name", "kueue.x-k8s.io/queue-name")
    ),
    ({"labels": {"job-name": "x"}}, "use a prefix of your own"),
    ({"labels": {"a b": "x"}}, "a label's key is NAME or DOMAIN/NAME"),
    ({"labels": {"team": "a b"}}, "a label's value holds only"),
    *(
        ({"annotations": {key: "x"}}, "use a prefix of your own")
        for key in (
            "kinema.dev/generation",
            "prometheus.io/port",
            "container.apparmor.security.beta.kubernetes.io/trainer",
            "scheduler.alpha.k8s.io/x",
        )
    ),
    ({"annotations": {"/": "x"}}, "an annotation's key is NAME or DOMAIN/NAME"),
    *(
        (_env(name), "use another name")
        for name in (
            "KINEMA_TRAINER_LEAVE_SECONDS",
            "kinema_rendezvous",
            "LD_PRELOAD",
            "PYTHONPATH",
            "PATH",
            "HOME",
            "OMP_NUM_THREADS",
            "RANK",
            "LOCAL_RANK",
            "MASTER_ADDR",
            "TORCHELASTIC_RUN_ID",
            "NVIDIA_VISIBLE_DEVICES",
        )
    ),
    (_env("1A"), "no digit first"),
    (_env("A-B"), "no digit first"),
    (_env("A", "\x00"), "no NUL character"),
    *(
        (_volume(path), "use a path such as /mnt/data")
        for path in ("/tmp", "/tmp/x", "/dev/shm", "/var/run/kinema/storage", "/run/x", "/usr", "/etc/x", "/lib64")
    ),
    *(
        (_volume(path), "mountPath is an absolute path")
        for path in ("mnt", "/mnt/", "/mnt//a", "/mnt/../tmp", "/mnt/.", "//", "/m:n")
    ),
    (_volume(name="A"), "a volume's name holds only"),
    (_volume(emptyDir={}, configMap={"name": "c"}), "exactly one of"),
    (_volume(readOnly=True), "exactly one of"),
    (_volume(persistentVolumeClaim={"claimName": "A"}), "a claim's name holds only"),
    (_volume(configMap={"name": "../a"}), "a ConfigMap's name holds only"),
    (_volume(emptyDir={"sizeLimit": "0"}), "a quantity above 0"),
    (_volume(emptyDir={"sizeLimit": "1GB"}), "a quantity above 0"),
    (
        {"volumes": _volume(name="a")["volumes"] + _volume(name="b")["volumes"]},
        "two volumes have the same mountPath",
    ),
    *(({"sharedMemorySize": size}, "a quantity above 0") for size in ("0", -1, "1GB", "lots")),
    (
        {"sharedMemorySize": "2Gi", "resources": {"limits": {"memory": "1Gi"}}},
        "raise resources.limits.memory",
    ),
    ({"resources": {"limits": {"nvidia.com/gpu": 1, "amd.com/gpu": 1}}}, "GPUs of one vendor"),
    ({"resources": {"limits": {"nvidia.com/gpu": "0.5"}}}, "is a whole number"),
    ({"priorityClassName": "system-node-critical"}, "is for the cluster's own pods"),
    ({"priorityClassName": "A"}, "a priority class's name holds only"),
    ({"runtimeClassName": "a/b"}, "a runtime class's name holds only"),
    ({"imagePullSecrets": [{"name": "A"}]}, "a Secret's name holds only"),
    (_toleration(key="a", operator="Exists", value="b"), "has no value"),
    (_toleration(value="b"), "needs the operator Exists"),
    (_toleration(key="a", operator="Exists", tolerationSeconds=5), "needs the effect NoExecute"),
    (
        _toleration(key="node.kubernetes.io/unreachable", operator="Exists", effect="NoExecute"),
        "Kinema itself sets how long",
    ),
    (_toleration(key="a b", operator="Exists"), "a taint's key is NAME or DOMAIN/NAME"),
    (_nodes(key="a", operator="In"), "need values"),
    (_nodes(key="a", operator="Exists", values=["b"]), "have no values"),
    (_nodes(key="a", operator="Gt", values=["b"]), "one whole number"),
    (_nodes(key="a b", operator="Exists"), "a label's key is NAME or DOMAIN/NAME"),
    (_pods(), "needs matchLabels or matchExpressions"),
    (_pods(matchExpressions=[{"key": "a", "operator": "NotIn"}]), "need values"),
    (
        {
            "topologySpreadConstraints": [
                {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "minDomains": 2}
            ]
        },
        "minDomains needs whenUnsatisfiable",
    ),
]

TAKEN: Final[list[Template]] = [
    {},
    {
        "labels": {"example.com/team": "video", "team": ""},
        "annotations": {
            "example.com/owner": "somebody",
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "k8s.v1.cni.cncf.io/networks": "rdma",
        },
        "env": [{"name": "NCCL_DEBUG", "value": "$(HOME)"}, {"name": "http_proxy"}],
    },
    {
        "resources": {"requests": {"cpu": 8}, "limits": {"memory": "64Gi", "nvidia.com/gpu": 8}},
        "sharedMemorySize": "16Gi",
        "nodeSelector": {"pool": "gpu"},
        "priorityClassName": "training",
        "runtimeClassName": "nvidia",
        "imagePullSecrets": [{"name": "registry"}],
    },
    {
        "volumes": [
            {"name": "clips", "mountPath": "/mnt/clips", "persistentVolumeClaim": {"claimName": "c.1"}},
            {"name": "scratch", "mountPath": "/data/.x", "emptyDir": {"sizeLimit": "1Gi", "medium": "Memory"}},
            {
                "name": "settings",
                "mountPath": "/home/x",
                "readOnly": True,
                "configMap": {"name": "s", "optional": True},
            },
        ]
    },
    _toleration(operator="Exists"),
    _toleration(key="a", value="b", effect="NoExecute", tolerationSeconds=5),
    _nodes(key="topology.kubernetes.io/zone", operator="In", values=["eu-1", "eu-2"]),
    _nodes(key="memory", operator="Gt", values=["64"]),
    _pods(matchLabels={"app": "other"}),
    _pods(matchExpressions=[{"key": "app", "operator": "Exists"}]),
    {
        "affinity": {
            "nodeAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 1, "preference": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}
                ]
            }
        },
        "topologySpreadConstraints": [
            {"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2, "maxSkew": 2},
            {"topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"},
        ],
    },
]
