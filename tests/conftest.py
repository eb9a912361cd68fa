"""What tests share: real market files, a browser, a store that is not the user's."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Compilation makes the first example slow, so no profile has a deadline.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: of two workers, one that met a long file last would end alone."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of real market files."""
    named = os.environ.get("UNWIND_MARKET_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "market_data"
    if not folder.is_dir():
        pytest.skip("no real market files: set UNWIND_MARKET_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of a Chromium to drive."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    reason = "no Chromium on PATH (Debian: apt install chromium)"
    if os.environ.get("UNWIND_REQUIRE_BROWSER") == "1":
        pytest.fail(f"{reason}, and UNWIND_REQUIRE_BROWSER=1")
    pytest.skip(reason)


@pytest.fixture(scope="session", autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNWIND_DB", str(tmp_path_factory.mktemp("store") / "unwind.duckdb"))
        yield
