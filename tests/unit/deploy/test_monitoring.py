"""Prometheus and Grafana against what the processes expose, and against compose.yaml."""

import re
import shutil
import subprocess
from typing import Any

import msgspec
import pytest

from .expressions import OF_PROMETHEUS, exposed, grouped_by, selectors
from .files import DEPLOY, ROOT, document, interpolated, settings_of

PROMETHEUS = document(DEPLOY / "prometheus" / "prometheus.yml")
ALERTS = [rule for group in document(DEPLOY / "prometheus" / "alerts.yml")["groups"] for rule in group["rules"]]
DASHBOARD = msgspec.json.decode((DEPLOY / "grafana" / "dashboards" / "bestex.json").read_bytes())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
COMPOSE = interpolated(document(ROOT / "compose.yaml"))["services"]
EXPOSED = exposed()

EXPRESSIONS = {
    **{rule["alert"]: rule["expr"] for rule in ALERTS},
    **{f"{panel['title']} {target['refId']}": target["expr"] for panel in PANELS for target in panel["targets"]},
}
each_expression = pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS.keys())


@each_expression
def test_every_metric_is_one_that_a_process_exposes(expression: str) -> None:
    found = list(selectors(expression))
    assert found or "up" in expression
    for selector in found:
        assert selector.metric in EXPOSED


@each_expression
def test_labels_and_their_values_are_those_of_the_metric(expression: str) -> None:
    known = set(OF_PROMETHEUS)
    for metric, matchers in selectors(expression):
        labels = EXPOSED[metric]
        known |= labels.keys()
        for matcher in matchers:
            assert matcher.label in labels.keys() | OF_PROMETHEUS, metric
            if matcher.label in labels and labels[matcher.label] and matcher.label not in OF_PROMETHEUS:
                _check_value(labels[matcher.label], matcher.operator, matcher.value)
    assert grouped_by(expression) <= known


def _check_value(possible: set[str], operator: str, value: str) -> None:
    """Each alternative must match something that can be there."""
    for alternative in value.split("|") if operator in {"=~", "!~"} else [re.escape(value)]:
        assert any(re.fullmatch(alternative, each) for each in possible), f"nothing is ever {alternative}"


@each_expression
def test_jobs_are_those_that_are_scraped(expression: str) -> None:
    jobs = {config["job_name"] for config in PROMETHEUS["scrape_configs"]}
    for operator, value in re.findall(r'job(=~|=)"([^"]*)"', expression):
        assert any(re.fullmatch(value if operator == "=~" else re.escape(value), job) for job in jobs)


def test_every_replica_is_scraped_at_its_port() -> None:
    found = {
        config["job_name"]: (name, each["port"])
        for config in PROMETHEUS["scrape_configs"]
        for each in config.get("dns_sd_configs", [])
        for name in each["names"]
    }
    assert found == {
        f"bestex-{role}": (role, settings_of(COMPOSE[role]["environment"], role).port) for role in ("api", "worker")
    }


def test_every_alert_says_what_and_how_bad() -> None:
    for rule in ALERTS:
        assert rule["annotations"].keys() == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
    assert len({rule["alert"] for rule in ALERTS}) == len(ALERTS)


def test_every_alert_has_been_seen_to_fire_and_not_to_fire() -> None:
    cases = document(DEPLOY / "prometheus" / "alerts.test.yml")["tests"]
    seen: dict[str, set[bool]] = {}
    for case in cases:
        for expected in case["alert_rule_test"]:
            seen.setdefault(expected["alertname"], set()).add(bool(expected["exp_alerts"]))
    assert seen == {rule["alert"]: {True, False} for rule in ALERTS}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
@pytest.mark.parametrize("arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yml")])
def test_promtool_agrees(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=DEPLOY / "prometheus", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    (source,) = document(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"]
    (provider,) = document(DEPLOY / "grafana" / "provisioning" / "dashboards" / "bestex.yml")["providers"]
    mounts = dict(volume.split(":")[:2] for volume in COMPOSE["grafana"]["volumes"])
    assert source["url"] == f"http://prometheus:{COMPOSE['prometheus']['ports'][0].rsplit(':', 1)[1]}"
    assert mounts["./deploy/grafana/dashboards"] == provider["options"]["path"]
    home = COMPOSE["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/bestex.json"
    assert source["jsonData"]["timeInterval"] == PROMETHEUS["global"]["scrape_interval"]
    (variable,) = DASHBOARD["templating"]["list"]
    assert variable["current"]["value"] == source["uid"]


@pytest.mark.parametrize("panel", PANELS, ids=[panel["title"] for panel in PANELS])
def test_every_panel_has_a_unit_and_says_what_it_shows(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert len(panel["description"]) > 20
    assert panel["datasource"]["uid"] == "${datasource}"
    assert all(target["datasource"] == panel["datasource"] and target["legendFormat"] for target in panel["targets"])


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24, panel["title"]
        assert not cells & taken, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
