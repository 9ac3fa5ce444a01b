"""The manifests of deploy/kubernetes, held against the schemas of Kubernetes and KEDA, against the code, and against each other."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import kubernetes_validate  # type: ignore[import-untyped]  # pyright: ignore[reportMissingTypeStubs]
import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from dashboards import catalogue, selectors
from dockbus.jobs import Queue
from dockbus.settings import Settings
from dockbus_workers.process import HAND_BACK
from dockbus_workers.scaling.decide import Observed, decide
from dockbus_workers.scaling.services import Service
from dockbus_workers.worker import POLL

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "deploy" / "kubernetes").glob("*.yaml"))
PAGE = (ROOT / "docs" / "howto" / "kubernetes.md").read_text()
RELEASES = ("1.30", "1.34")
"""The schemas that are held to: an old release that is still run, and a new one."""
SECRETS = Path("/run/secrets")


def valid(document: dict[str, Any], release: str = RELEASES[-1]) -> bool:
    """Whether that release of Kubernetes knows all that stands there, and misses nothing."""
    try:
        kubernetes_validate.validate(document, release, strict=True)  # pyright: ignore[reportUnknownMemberType]
    except kubernetes_validate.ValidationError as error:
        print(error)
        return False
    return True


class Strict(yaml.SafeLoader):
    """YAML in which no key is there twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]  # pyright: ignore[reportUnknownMemberType]
        assert len(keys) == len(set(keys)), f"{node.start_mark}: a key is there twice"
        return super().construct_mapping(node, deep)


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything that is described, by its kind and name."""
    for file in FILES:
        for document in yaml.load_all(file.read_text(), Strict):
            yield f"{document['kind']} {document['metadata']['name']}", document


ALL = dict(documents())
DEPLOYMENTS = {
    name.partition(" ")[2]: it["spec"] for name, it in ALL.items() if it["kind"] == "Deployment"
}
PODS = {name: spec["template"]["spec"] for name, spec in DEPLOYMENTS.items()}
LABELS = {name: spec["template"]["metadata"]["labels"] for name, spec in DEPLOYMENTS.items()}
SCALED = ALL["ScaledObject worker-run"]["spec"]
WITH_ENGINE = {name for name, labels in LABELS.items() if labels.get("dockbus/engine") == "yes"}

each = pytest.mark.parametrize("name", sorted(PODS))


def container(name: str) -> dict[str, Any]:
    (only,) = PODS[name]["containers"]
    return dict(only)


def environment(name: str) -> dict[str, str]:
    """All variables that dockbus gets there."""
    found: dict[str, str] = {}
    for source in container(name)["envFrom"]:
        found |= ALL[f"ConfigMap {source['configMapRef']['name']}"]["data"]
    return found | {each["name"]: each["value"] for each in container(name).get("env", ())}


def chosen(selector: dict[str, Any]) -> set[str]:
    """The programs whose pods a selector chooses."""
    wanted = selector.get("matchLabels", {}).items()
    return {name for name, labels in LABELS.items() if wanted <= labels.items()}


def test_nothing_is_described_twice() -> None:
    assert len(ALL) == sum(1 for _ in documents())
    assert {"Namespace", "Deployment", "NetworkPolicy", "PodDisruptionBudget"} <= {
        it["kind"] for it in ALL.values()
    }


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("name", [name for name in ALL if "ScaledObject" not in name])
def test_kubernetes_knows_every_field(name: str, release: str) -> None:
    assert valid(ALL[name], release)


def test_a_field_that_kubernetes_does_not_know_is_noticed() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(ALL["Deployment api"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}

    assert not valid(wrong)


# -- each program ----------------------------------------------------------------------------------


@each
def test_it_is_confined_as_the_namespace_demands(name: str) -> None:
    pod, own = PODS[name], container(name)["securityContext"]

    level = ALL["Namespace dockbus"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "restricted"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod.keys() == set()
    kinds = {key for volume in pod["volumes"] for key in volume if key != "name"}
    assert kinds <= {"emptyDir", "secret", "configMap"}


@each
def test_it_is_an_image_and_a_command_of_ours(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    image, _, tag = container(name)["image"].partition(":")
    command, *arguments = container(name).get("args", ["api"])

    assert tag == project["version"]
    targets = re.findall(r"^FROM \S+ AS (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert image.removeprefix("dockbus/") in targets
    assert command in project["entry-points"]["dockbus.commands"]
    assert arguments == ([Queue(name.removeprefix("worker-"))] if command == "worker" else [])
    assert name == container(name)["name"] == LABELS[name]["app"]


@each
def test_its_settings_are_settings_and_its_secrets_are_mounted(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    given = environment(name)
    files = {key: value for key, value in given.items() if key.endswith("_FILE")}
    mounted = {each["mountPath"]: each["name"] for each in container(name)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in PODS[name]["volumes"]}

    settings = Settings.from_env(given | dict.fromkeys(files, str(tmp_path / "secret")))

    assert settings.redis_url.startswith("rediss://dockbus:s3cret@")
    assert settings.metrics.host == "0.0.0.0"  # noqa: S104  in its pod
    assert set(mounted.values()) == set(volumes)
    for path in [*files.values(), *re.findall(r"ssl_ca_certs=([^&]+)", settings.redis.url)]:
        secret = volumes[mounted[str(Path(path).parent)]]["secret"]["secretName"]
        assert re.search(rf"secret generic {secret} .*--from-file={Path(path).name}\b", PAGE), path
    assert not any("PASSWORD" in key or "TOKEN" in key for key in given.keys() - files.keys())
    for path in (settings.watch.rules, settings.schedule.path):
        assert (
            not path or f"create configmap {volumes[mounted[path]]['configMap']['name']} " in PAGE
        )


def test_only_those_that_need_it_have_the_engines_certificate_and_only_metrics_lacks_the_key() -> (
    None
):
    having = {name for name in PODS if "/run/secrets/engine" in str(PODS[name])}
    keyed = {name for name in PODS if "DOCKBUS_BUS_KEY_FILE" in environment(name)}

    assert having == WITH_ENGINE == {"events", "worker-run", "metrics"}
    for name in having:
        engine = Settings.from_env(
            {key: value for key, value in environment(name).items() if "ENGINE" in key}
        ).engine
        assert engine.cert_path == "/run/secrets/engine"
        assert engine.host.startswith("tcp://")
    assert all(f"--from-file={file}.pem" in PAGE for file in ("ca", "cert", "key"))
    assert keyed == PODS.keys() - {"metrics"}


@each
def test_it_is_asked_where_it_answers(name: str) -> None:
    ports = {port["name"]: port["containerPort"] for port in container(name)["ports"]}
    own = re.findall(r"DOCKBUS_METRICS_OWN_PORT=(\d+)", (ROOT / "Dockerfile").read_text())
    measured = Settings().metrics.port if name == "metrics" else int(own[0])
    live, ready = (container(name)[probe] for probe in ("livenessProbe", "readinessProbe"))

    assert ports["metrics"] == measured
    assert ports.get("http", Settings().api.port) == Settings().api.port
    assert (live["httpGet"]["path"], ready["httpGet"]["path"]) == ("/healthz", "/readyz")
    assert {live["httpGet"]["port"], ready["httpGet"]["port"]} == {
        "http" if "http" in ports else "metrics"
    }
    assert {"requests", "limits"} == container(name)["resources"].keys()


def test_a_worker_has_the_time_to_drain() -> None:
    grace = PODS["worker-run"]["terminationGracePeriodSeconds"]

    assert grace >= float(environment("worker-run")["DOCKBUS_WORKER_DRAIN"]) + HAND_BACK + 2 * POLL


# -- between them ----------------------------------------------------------------------------------


def test_selectors_choose_what_they_mean() -> None:
    for name, spec in DEPLOYMENTS.items():
        assert chosen(spec["selector"]) == {name}
    for name, it in ALL.items():
        if it["kind"] == "PodDisruptionBudget":
            assert chosen(it["spec"]["selector"]) == {name.partition(" ")[2]}
    assert chosen({"matchLabels": ALL["Service api"]["spec"]["selector"]}) == {"api"}
    several = {name for name, spec in DEPLOYMENTS.items() if spec.get("replicas", 2) > 1}
    assert {name.partition(" ")[2] for name in ALL if "PodDisruptionBudget" in name} == several


def test_nothing_is_let_through_but_what_is_needed() -> None:
    policies = {name: it["spec"] for name, it in ALL.items() if it["kind"] == "NetworkPolicy"}
    base = policies["NetworkPolicy nothing-else"]
    data = ALL["ConfigMap dockbus"]["data"], ALL["ConfigMap dockbus-engine"]["data"]
    redis, engine = (
        re.findall(r":(\d+)(?:/|$)", url)[0]
        for url in (data[0]["DOCKBUS_REDIS_URL"], data[1]["DOCKBUS_ENGINE_HOST"])
    )

    def outward(spec: dict[str, Any]) -> set[str]:
        return {str(port["port"]) for rule in spec.get("egress", ()) for port in rule["ports"]}

    assert set(base["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in base
    assert chosen(base["podSelector"]) == set(PODS)
    assert outward(base) == {"53", redis}
    to_engine = policies["NetworkPolicy to-the-engine"]
    assert chosen(to_engine["podSelector"]) == WITH_ENGINE
    assert outward(to_engine) == {engine}
    named = {
        str(port["port"])
        for spec in policies.values()
        for rule in spec.get("ingress", ())
        for port in rule["ports"]
    }
    assert named == {"http", "metrics"}
    assert all(rule["from"] for spec in policies.values() for rule in spec.get("ingress", ())), (
        "none is open to everybody"
    )


# -- KEDA ------------------------------------------------------------------------------------------


class Known(BaseModel):
    """What is given must be known; the rules are those of KEDA's own definition, `scaledobjects.keda.sh`, v1alpha1."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Target(Known):
    name: str


class Fallback(Known):
    failureThreshold: int  # noqa: N815  so it is called
    replicas: int


class Metadata(Known):
    """Of its scaler `prometheus`, where all values are text."""

    serverAddress: str  # noqa: N815
    query: str
    threshold: str
    ignoreNullValues: Literal["true", "false"]  # noqa: N815


class Trigger(Known):
    type: Literal["prometheus"]
    metricType: Literal["AverageValue"]  # noqa: N815  the only one that a fallback is for
    metadata: Metadata


class ScaledObject(Known):
    scaleTargetRef: Target  # noqa: N815
    minReplicaCount: int  # noqa: N815
    maxReplicaCount: int  # noqa: N815
    pollingInterval: int  # noqa: N815
    fallback: Fallback
    advanced: dict[Literal["horizontalPodAutoscalerConfig"], dict[Literal["behavior"], Any]]
    triggers: list[Trigger]


def test_keda_is_told_what_it_understands() -> None:
    spec = ScaledObject.model_validate(SCALED)
    scaler: dict[str, Any] = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "keda-hpa-worker-run"},
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "worker-run"},
            "minReplicas": spec.minReplicaCount,
            "maxReplicas": spec.maxReplicaCount,
            **spec.advanced["horizontalPodAutoscalerConfig"],
        },
    }

    assert spec.scaleTargetRef.name in DEPLOYMENTS
    assert "replicas" not in DEPLOYMENTS[spec.scaleTargetRef.name], "two would set it"
    assert 1 <= spec.minReplicaCount <= spec.fallback.replicas <= spec.maxReplicaCount
    assert valid(scaler), "what KEDA makes of it"


def test_keda_asks_for_metrics_that_there_are_and_counts_slots_as_there_are() -> None:
    (trigger,) = ScaledObject.model_validate(SCALED).triggers
    known = catalogue()

    asked = list(selectors(trigger.metadata.query))
    assert [it.metric for it in asked] == ["rq_jobs"]
    named = set(re.findall(r"(\w+)=~", asked[0].matchers))
    assert named <= known["rq_jobs"].labels
    engine = environment("worker-run")["DOCKBUS_ENGINE_NAME"]
    assert f'queue=~"run|run@{engine}"' in asked[0].matchers
    assert trigger.metadata.threshold == environment("worker-run")["DOCKBUS_WORKER_SLOTS"]
    assert trigger.metadata.ignoreNullValues == "false"


@pytest.mark.parametrize("jobs", [0, 1, 4, 5, 17, 32, 100])
def test_it_comes_to_what_the_scaler_would_decide(jobs: int) -> None:
    spec = ScaledObject.model_validate(SCALED)
    threshold = float(spec.triggers[0].metadata.threshold)
    service = Service.model_validate(
        {
            "project": "p",
            "service": "worker-run",
            "queue": "run",
            "min": spec.minReplicaCount,
            "max": spec.maxReplicaCount,
        }
    )
    observed = Observed(
        queued=jobs // 2, started=jobs - jobs // 2, oldest=0, slots=threshold, replicas=1, ready=1
    )

    pods = max(spec.minReplicaCount, min(math.ceil(jobs / threshold), spec.maxReplicaCount))

    assert pods == decide(service, 0.0, observed).wanted
