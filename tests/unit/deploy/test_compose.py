"""compose.yaml against the program, the image and the schema of Compose files."""

import re
import subprocess
import sys
from typing import Any

import pytest

from .files import (
    ROOT,
    address,
    commands,
    document,
    health_paths,
    image_environment,
    interpolated,
    seconds,
    settings_of,
    strings,
    variables,
)

FILE = ROOT / "compose.yaml"
COMPOSE = interpolated(document(FILE))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}


def test_is_a_compose_file() -> None:
    checked = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout


def test_every_role_is_there() -> None:
    assert {service["command"][0] for service in OURS.values()} == {"api", "worker", "paper", "migrate"}


@pytest.mark.parametrize("name", OURS)
def test_a_process_would_start(name: str) -> None:
    service = OURS[name]
    (command,) = service["command"]
    assert command in commands()
    assert settings_of(service["environment"], command).host == "0.0.0.0"


def test_processes_find_each_other() -> None:
    paper = settings_of(OURS["paper"]["environment"], "paper")
    database = SERVICES["postgres"]["environment"]
    user, password = database["POSTGRES_USER"], database["POSTGRES_PASSWORD"]
    for role in ("api", "worker", "migrate"):
        settings = settings_of(OURS[role]["environment"], role)
        assert settings.database_url == f"postgresql://{user}:{password}@postgres:5432/{database['POSTGRES_DB']}"
        assert settings.redis_url == "redis://redis:6379/0"
        assert address(settings.cluster_url) == ("paper", paper.paper_port)
    published = [str(port).split(":")[-1] for port in OURS["paper"]["ports"]]
    assert published == [str(paper.paper_port), str(paper.paper_port + 1)]


@pytest.mark.parametrize("name", ["api", "worker", "paper"])
def test_health_is_asked_where_it_is_answered(name: str) -> None:
    settings = settings_of(OURS[name]["environment"], name)
    (url,) = re.findall(r'http://[^"]+', " ".join(OURS[name]["healthcheck"]["test"]))
    assert address(url) == ("127.0.0.1", settings.paper_port if name == "paper" else settings.port)
    path = url.removeprefix("http://127.0.0.1").partition("/")[2]
    assert f"/{path}" in ({"/health"} if name == "paper" else health_paths())


def test_the_code_of_each_health_check_is_python() -> None:
    for name in ("api", "worker", "paper"):
        code = OURS[name]["healthcheck"]["test"][-1]
        compile(code, name, "exec")
        assert OURS[name]["healthcheck"]["test"][:3] == ["CMD", "python", "-c"]


def test_who_waits_for_health_waits_for_a_service_that_tells_it() -> None:
    for name, service in SERVICES.items():
        needs = service.get("depends_on", {})
        for other, need in needs.items() if isinstance(needs, dict) else ((each, {}) for each in needs):
            assert other in SERVICES, name
            assert need.get("condition") != "service_healthy" or "healthcheck" in SERVICES[other], f"{name}: {other}"


def test_variables_and_their_defaults_are_those_of_the_example() -> None:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    text = "\n".join(line for line in FILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#"))
    assert variables(text) == example


def test_only_loopback_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_the_wallet_is_known_to_workers_only() -> None:
    assert [name for name in SERVICES if "BESTEX_WALLET_SECRET" in SERVICES[name].get("environment", {})] == ["worker"]


@pytest.mark.parametrize("name", OURS)
def test_docker_waits_longer_than_the_process(name: str) -> None:
    settings = settings_of(OURS[name]["environment"], OURS[name]["command"][0])
    assert seconds(OURS[name]["stop_grace_period"]) >= 2 * settings.shutdown_s
    assert OURS[name]["init"] is True


@pytest.mark.parametrize("name", OURS)
def test_a_process_writes_nowhere_but_where_it_must(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    kept = [volume.partition(":")[2] for volume in service.get("volumes", [])]
    assert kept == ([image_environment()["BESTEX_DATA_DIR"]] if name == "paper" else [])


def test_redis_forgets_all_or_nothing() -> None:
    command = SERVICES["redis"]["command"]
    assert {'--save ""', "--appendonly no", "--maxmemory-policy noeviction"} <= set(command)
    assert "volumes" not in SERVICES["redis"]


def test_an_accepted_order_is_on_disk() -> None:
    assert not re.search(r"fsync|synchronous_commit|full_page_writes", " ".join(SERVICES["postgres"]["command"]))
    assert SERVICES["postgres"]["volumes"] == ["postgres:/var/lib/postgresql/data"]


def test_images_have_a_version() -> None:
    for name, service in SERVICES.items():
        _, _, tag = service["image"].rpartition(":")
        assert tag not in {"", "latest"}, name
        assert ":" in service["image"], name


def test_what_is_mounted_exists() -> None:
    mounts = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    for source in mounts:
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], source
    assert COMPOSE["volumes"].keys() <= set(mounts)


def test_the_gateway_passes_on_to_the_api() -> None:
    text = (ROOT / "deploy" / "gateway" / "nginx.conf").read_text(encoding="utf-8")
    port = settings_of(OURS["api"]["environment"], "api").port
    assert re.findall(r"set \$api (\S+);", text) == [f"api:{port}"]
    (listens,) = re.findall(r"listen (\d+);", text)
    (published,) = SERVICES["gateway"]["ports"]
    assert published.endswith(f":{listens}")
    assert re.findall(r"proxy_next_upstream ([^;]+);", text) == ["error timeout"], "a POST must not be sent twice"


def test_nothing_left_to_fill_in() -> None:
    assert not [text for text in strings(COMPOSE) if "${" in text]
