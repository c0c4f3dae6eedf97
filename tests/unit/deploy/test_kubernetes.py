"""The manifests against Kubernetes' own schemas, the program, and each other."""

import re
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bestex import __version__
from bestex.api import ops
from bestex.config import Settings, load
from bestex.errors import ConfigError

from .files import DEPLOY, address, commands, document, documents, health_paths, image_environment, settings_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import kubernetes_validate  # type: ignore[import-untyped]  # it has no stubs

KUBERNETES = DEPLOY / "kubernetes"
KUSTOMIZATIONS = sorted(KUBERNETES.rglob("kustomization.yaml"))
FILES = sorted(set(KUBERNETES.rglob("*.yaml")) - set(KUSTOMIZATIONS))
MANIFESTS = [(file, manifest) for file in FILES for manifest in documents(file)]


def _ids(pairs: list[tuple[Path, Any]]) -> list[str]:
    return [f"{manifest['kind']} {manifest['metadata']['name']} ({file.name})" for file, manifest in pairs]


WORKLOADS = [(file, manifest) for file, manifest in MANIFESTS if "template" in manifest.get("spec", {})]
each_workload = pytest.mark.parametrize(("file", "manifest"), WORKLOADS, ids=_ids(WORKLOADS))
SECRETS = [manifest for _, manifest in MANIFESTS if manifest["kind"] == "Secret"]
CONFIG = next(manifest["data"] for _, manifest in MANIFESTS if manifest["kind"] == "ConfigMap")


class Process(NamedTuple):
    """A container of ours."""

    command: str
    container: dict[str, Any]
    pod: dict[str, Any]
    secret: dict[str, str]

    @property
    def settings(self) -> Settings:
        """Fails where the process would refuse to start."""
        environment = dict(CONFIG) if "envFrom" in self.container else {}
        for variable in self.container["env"]:
            source = variable.get("valueFrom", {}).get("secretKeyRef")
            if source is None:
                environment[variable["name"]] = variable["value"]
            elif not source.get("optional", False):
                environment[variable["name"]] = self.secret[source["key"]]
        return settings_of(environment, self.command)


def _processes() -> Iterator[Process]:
    for _, manifest in WORKLOADS:
        pod = manifest["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        if container["image"] == "bestex":
            for secret in SECRETS:
                yield Process(container["args"][0], container, pod, secret["stringData"])


PROCESSES = list(_processes())
each_process = pytest.mark.parametrize("process", PROCESSES, ids=[each.command for each in PROCESSES])


@pytest.mark.parametrize("version", ["1.29", "1.35"])
@pytest.mark.parametrize(("file", "manifest"), MANIFESTS, ids=_ids(MANIFESTS))
def test_is_valid(file: Path, manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)
    assert "namespace" not in manifest["metadata"]


def test_every_role_is_there() -> None:
    assert {process.command for process in PROCESSES} == {"api", "worker", "paper", "migrate"}
    assert {process.command for process in PROCESSES} <= commands()


@each_process
def test_would_start(process: Process) -> None:
    assert process.settings.host == "0.0.0.0"


@each_process
def test_has_what_the_process_listens_on(process: Process) -> None:
    settings = process.settings
    ports = [port["containerPort"] for port in process.container.get("ports", [])]
    expected = {"paper": [settings.paper_port, settings.paper_port + 1], "migrate": []}
    assert ports == expected.get(process.command, [settings.port])


@each_process
def test_probes_ask_what_is_answered(process: Process) -> None:
    names = {port["name"] for port in process.container.get("ports", [])}
    probes = {kind: process.container[kind] for kind in process.container if kind.endswith("Probe")}
    assert len(probes) == (0 if process.command == "migrate" else 3)
    for kind, probe in probes.items():
        assert probe["httpGet"]["port"] in names
        if process.command == "paper":
            assert probe["httpGet"]["path"] == "/health"
            continue
        assert probe["httpGet"]["path"] in health_paths()
        # A database that is away must not have all processes killed.
        assert probe["httpGet"]["path"].endswith("ready") == (kind == "readinessProbe")
        if kind == "readinessProbe":
            assert probe["timeoutSeconds"] > ops._READY_TIMEOUT_S


@each_process
def test_a_starting_process_may_wait_for_its_database_and_node(process: Process) -> None:
    probe = process.container.get("startupProbe")
    if probe is not None:
        assert probe["periodSeconds"] * probe["failureThreshold"] > 2 * process.settings.startup_s


@each_process
def test_is_given_the_time_that_it_takes_to_stop(process: Process) -> None:
    before = process.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    assert process.pod.get("terminationGracePeriodSeconds", 30) >= int(before[1]) + 2 * process.settings.shutdown_s


@each_process
def test_the_wallet_is_known_to_workers_only(process: Process) -> None:
    known = "BESTEX_WALLET_SECRET" in {variable["name"] for variable in process.container["env"]}
    assert known == (process.command == "worker")


@each_workload
def test_is_locked_down(file: Path, manifest: dict[str, Any]) -> None:
    pod = manifest["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"].keys() == {"memory"}
    assert container["resources"]["requests"].keys() == {"cpu", "memory"}
    if container["image"] == "bestex":
        assert pod["securityContext"]["runAsUser"] == 10001
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}


@each_workload
def test_variables_that_kubernetes_would_add_stay_out(file: Path, manifest: dict[str, Any]) -> None:
    assert manifest["spec"]["template"]["spec"]["enableServiceLinks"] is False


def test_and_they_would_stop_every_process() -> None:
    names = [manifest["metadata"]["name"] for _, manifest in MANIFESTS if manifest["kind"] == "Service"]
    links = {f"{name.upper().replace('-', '_')}_PORT": "tcp://10.0.0.1:80" for name in names}
    with pytest.raises(ConfigError):
        load({**image_environment(), **links})


@each_workload
def test_labels_match(file: Path, manifest: dict[str, Any]) -> None:
    labels = manifest["spec"]["template"]["metadata"]["labels"]
    assert manifest["kind"] == "Job" or manifest["spec"]["selector"]["matchLabels"] == labels
    for constraint in manifest["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
        assert constraint["labelSelector"]["matchLabels"] == labels


def test_services_and_budgets_select_a_workload_that_is_there() -> None:
    pods = {
        manifest["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]: manifest["spec"]["template"][
            "spec"
        ]
        for _, manifest in WORKLOADS
    }
    for _, manifest in MANIFESTS:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "Service":
            (container,) = pods[spec["selector"]["app.kubernetes.io/name"]]["containers"]
            assert {port["targetPort"] for port in spec["ports"]} <= {port["name"] for port in container["ports"]}
        elif manifest["kind"] == "PodDisruptionBudget":
            assert spec["selector"]["matchLabels"]["app.kubernetes.io/name"] in pods


def test_processes_find_each_other() -> None:
    services = {
        manifest["metadata"]["name"]: {port["port"] for port in manifest["spec"]["ports"]}
        for file, manifest in MANIFESTS
        if manifest["kind"] == "Service"
    }
    secret = document(KUBERNETES / "overlays" / "paper" / "secret.yaml")["stringData"]
    for name in ("BESTEX_DATABASE_URL", "BESTEX_REDIS_URL", "BESTEX_CLUSTER_URL"):
        host, port = address(secret[name])
        assert port in services[str(host)]
    assert f"bestex:{secret['POSTGRES_PASSWORD']}@" in secret["BESTEX_DATABASE_URL"]


def test_the_example_holds_no_secret() -> None:
    text = (KUBERNETES / "base" / "secret.example.yaml").read_text(encoding="utf-8")
    assert re.findall(r"://\w+:([^@\n]+)@pos", text) == ["CHANGE-ME"]
    assert re.findall(r"WALLET_SECRET: (.*)", text) == ["CHANGE-ME"]


@pytest.mark.parametrize("file", KUSTOMIZATIONS, ids=[file.parent.name for file in KUSTOMIZATIONS])
def test_kustomizations_name_every_file(file: Path) -> None:
    kustomization = document(file)
    resources = {name for name in kustomization["resources"] if not name.startswith("..")}
    assert resources == {each.name for each in file.parent.glob("*.yaml") if "example" not in each.name} - {file.name}
    assert [image["newTag"] for image in kustomization["images"]] == [__version__]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl")
@pytest.mark.parametrize("file", KUSTOMIZATIONS, ids=[file.parent.name for file in KUSTOMIZATIONS])
def test_kustomizations_can_be_built(file: Path) -> None:
    built = subprocess.run(["kubectl", "kustomize", file.parent], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    assert f"image: bestex:{__version__}" in built.stdout
