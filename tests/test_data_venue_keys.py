"""Where API keys come from, and what is refused as one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from data.errors import BadInput, NotFound
from data.sources.venue_keys import keys_of


def test_keys_come_from_the_environment_or_a_file_of_ones_own(tmp_path: Path) -> None:
    assert keys_of("BINANCE", {}) is None
    found = keys_of("BINANCE", {"BINANCE_API_KEY": "k", "BINANCE_API_SECRET": "s"})
    assert found is not None
    assert (found.key, found.secret) == ("k", "s")
    assert repr(found) == str(found) == "Keys(***)"
    with pytest.raises(BadInput, match="BINANCE_API_KEY is set but BINANCE_API_SECRET is not"):
        keys_of("BINANCE", {"BINANCE_API_KEY": "k"})
    file = tmp_path / "keys"
    file.write_text("# mine\nBINANCE_API_KEY = k\nBINANCE_API_SECRET='s'\n")
    file.chmod(0o644)
    environment = {"UNWIND_KEYS": str(file)}
    if os.name == "posix":
        with pytest.raises(BadInput, match="chmod 600"):
            keys_of("BINANCE", environment)
    file.chmod(0o600)
    assert keys_of("BINANCE", environment) == found
    with pytest.raises(NotFound, match="which is not there"):
        keys_of("BINANCE", {"UNWIND_KEYS": str(tmp_path / "none")})


def test_a_key_is_taken_without_the_blanks_that_were_copied_with_it() -> None:
    found = keys_of("BINANCE", {"BINANCE_API_KEY": " k\n", "BINANCE_API_SECRET": "s\r\n"})
    assert found is not None
    assert (found.key, found.secret) == ("k", "s")


@pytest.mark.parametrize("odd", ["schlüssel", "two words", "a\tb", "\u200bk"])
def test_what_cannot_be_a_key_is_said_and_not_shown(odd: str) -> None:
    with pytest.raises(BadInput, match="BINANCE_API_KEY is no key") as caught:
        keys_of("BINANCE", {"BINANCE_API_KEY": odd, "BINANCE_API_SECRET": "s"})
    assert odd not in str(caught.value)
