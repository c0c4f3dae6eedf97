"""The Dockerfile: what goes into the image, as whom it runs, how it is stopped."""

import re
import tomllib

from bestex.config import load

from .files import ROOT, commands, document, image_environment, instructions


def _last(name: str) -> str:
    return [rest for each, rest in instructions() if each == name][-1]


def test_the_build_has_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {word for name, rest in instructions() if name == "COPY" and "--from" not in rest for word in rest.split()}
    assert "*" in lines
    assert allowed == {word for word in copied if (ROOT / word).exists() and word not in {".", "./"}}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {project["readme"], *project["license-files"], "pyproject.toml"} <= allowed


def test_python_is_one_that_the_project_supports() -> None:
    (versions,) = {tuple(re.findall(r"python:3\.(\d+)-slim", rest)) for name, rest in instructions() if name == "FROM"}
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    low, high = (int(found) for found in re.findall(r"3\.(\d+)", wanted))
    assert low <= int(versions[0]) < high


def test_runs_as_nobody_special_with_settings_that_exist() -> None:
    settings = load(image_environment())
    owner = next(rest for name, rest in instructions() if name == "RUN" and "useradd" in rest)
    assert _last("USER") == "10001:10001"
    assert "--uid 10001" in owner
    assert f"install --directory --owner bestex --group bestex {settings.data_dir}" in " ".join(owner.split())
    assert _last("WORKDIR") == settings.data_dir


def test_commands_ports_and_signal() -> None:
    settings = load(image_environment())
    assert _last("ENTRYPOINT") == '["bestex"]'
    assert document(ROOT / "compose.yaml")["x-bestex"]["build"] == "."
    assert _last("CMD") == '["serve"]'
    assert "serve" in commands()
    assert _last("EXPOSE").split() == [
        str(port) for port in (settings.port, settings.paper_port, settings.paper_port + 1)
    ]
    assert _last("STOPSIGNAL") == "SIGTERM"
