"""Settings are validated before anything opens, and say what is wrong by name."""

from pathlib import Path

import pytest

from bestex.config import Network, Settings, load
from bestex.errors import ConfigError


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "bestex.toml"
    file.write_text('port = 1\nhost = "0.0.0.0"\nconcurrency = 7\n')
    settings = load({"BESTEX_PORT": "2", "BESTEX_HOST": "::1", "HOME": "/"}, file, {"port": 3, "host": None})
    assert (settings.port, settings.host, settings.concurrency) == (3, "::1", 7)


def test_text_from_the_environment_is_converted() -> None:
    settings = load({"BESTEX_NETWORK": "realistic", "BESTEX_PAPER_TRADERS": "false", "BESTEX_RETRY_BASE_S": "1.5"})
    assert (settings.network, settings.paper_traders, settings.retry_base_s) == (Network.REALISTIC, False, 1.5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PORT", "99999"),
        ("PORT", "abc"),
        ("SLIPPAGE_BPS", "10001"),
        ("CONCURRENCY", "0"),
        ("NETWORK", "slow"),
        ("RETRY_BASE_S", "-1"),
        ("RETRY_BASE_S", "0"),
    ],
)
def test_a_wrong_value_names_its_setting(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name.lower()):
        load({f"BESTEX_{name}": text})


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match="prot"):
        load({"BESTEX_PROT": "1"})


def test_a_broken_file_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "bestex.toml"
    file.write_text("port = = 1")
    with pytest.raises(ConfigError, match="TOML"):
        load({}, file)
    with pytest.raises(ConfigError, match="cannot read"):
        load({}, tmp_path / "missing.toml")


def test_secrets_are_never_shown() -> None:
    secret = "4uQeVj5tqViQh7yWWGStvkEG1Zmhx6uasJtWCJziofM"
    settings = load({"BESTEX_WALLET_SECRET": secret})
    assert secret not in str(settings.public())
    assert secret not in repr(settings)
    assert Settings().public()["wallet_secret"] == ""
