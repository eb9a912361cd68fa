"""What is shipped: names, files, what an import costs, the lock, and an installed wheel at work."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
OURS = ("backtest", "data", "strategies")
ABSENT_AFTER_IMPORT = (
    "duckdb", "ccxt", "vectorbt", "statsmodels", "arch", "plotly", "dask", "matplotlib",
)  # fmt: skip


def python(executable: str | Path, code: str, cwd: Path) -> str:
    """Run code outside the checkout, with nothing on the path but what is installed."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run([executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", OURS)
def test_no_other_distribution_owns_our_names(name):
    owners = importlib.metadata.packages_distributions().get(name, [])
    assert set(owners) <= {"unwind"}


@pytest.mark.parametrize("name", OURS)
def test_packages_are_ours_and_typed(name):
    package = importlib.import_module(name)
    assert Path(package.__file__).parent == ROOT / name
    assert (ROOT / name / "py.typed").is_file()


def test_a_plain_import_loads_nothing_heavy(tmp_path):
    for name in set(ABSENT_AFTER_IMPORT) - {"dask", "matplotlib"}:
        assert importlib.util.find_spec(name), f"{name} is not installed: this test shows nothing"
    code = f"import sys, {', '.join(OURS)}, backtest.cli; print(*sys.modules)"
    loaded = python(sys.executable, code, tmp_path).split()
    assert not set(ABSENT_AFTER_IMPORT) & set(loaded)
    assert not {"pandas", "polars", "numba"} & set(loaded)


def test_the_engine_is_imported_with_numpy_and_numba_alone(tmp_path):
    heavy = {*ABSENT_AFTER_IMPORT, "pandas", "polars", "pyarrow", "tqdm", "jinja2", "rich", "cyclopts", "jupyterlab"}
    for name in heavy - {"dask", "matplotlib"}:
        assert importlib.util.find_spec(name), f"{name} is not installed: this test shows nothing"
    code = "import sys; from backtest import simulate, measure, Account, Costs, Strategy, HOLD, Venue, Result"
    loaded = python(sys.executable, f"{code}; print(*sys.modules)", tmp_path).split()
    assert {"numpy", "numba", "backtest.engine"} <= set(loaded)
    assert not heavy & set(loaded)


def test_public_names_are_those_of_their_modules():
    import backtest

    assert {"simulate", "measure", "Strategy", "HOLD"} <= set(backtest.__all__) <= set(dir(backtest))
    for name in backtest.__all__:
        home = importlib.import_module(backtest._HOME[name])
        assert getattr(backtest, name) is getattr(home, name)
        assert not (ROOT / "backtest" / f"{name}.py").exists(), f"{name} is a module: the name would mean two things"
    with pytest.raises(AttributeError, match="has no attribute 'simulat'"):
        backtest.simulat  # noqa: B018


@pytest.mark.parametrize("before", ["pass", "import backtest.venue", "from backtest import Venue, simulate"])
def test_backtest_venue_is_the_module_whatever_came_before(before, tmp_path):
    code = f"{before}\nfrom backtest import venue\nprint(type(venue).__name__, venue.venue('okx').name)"
    assert python(sys.executable, code, tmp_path).split() == ["module", "okx"]


def repository_files() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def private_addresses() -> re.Pattern[str]:
    """Package registries, and folders of the machine that this runs on."""
    registries = [
        "pypi" + r"\.org",
        "pythonhosted" + r"\.org",
        "registry" + r"\.npmjs",
        "deb" + r"\.debian\.org",
    ]
    registries.append(r"(index-url|find-links|registry)[ =]+['\"]?\w+:" + "//")
    folders = {str(ROOT), str(ROOT.parent / "shared"), str(Path.home())}
    here = [rf"(?<![\w.~-]){re.escape(folder)}(?![\w-])" for folder in folders if folder.count("/")]
    return re.compile("|".join(registries + here))


def test_no_file_names_a_registry_or_this_machine():
    pattern = private_addresses()
    found = []
    for path in repository_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        if hit := pattern.search(text):
            found.append(f"{path.relative_to(ROOT)}: {hit[0]}")
    assert not found


@pytest.mark.parametrize(
    "text",
    [
        f"cd {ROOT}/tests",
        f'"{ROOT}"',
        "https://" + "pypi" + ".org/simple",
        "--index-url " + "http" + "://x",
    ],
)
def test_private_addresses_would_be_seen(text):
    assert private_addresses().search(text)


@pytest.mark.parametrize("text", ["--no-emit-index-url", f"https://example.com{ROOT}-notes"])
def test_other_words_are_not_private_addresses(text):
    assert not private_addresses().search(text)


def locked() -> dict[str, list[str]]:
    """Pinned versions by name: more than one where platforms differ."""
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins: dict[str, list[str]] = {}
    for entry in re.sub(r"(?m)^\s*#.*\n|\\\n", "", text).splitlines():
        pin = re.match(r"([\w.-]+)==(\S+)(?: ;.*?)?(?P<hashes>(?: +--hash=sha256:[0-9a-f]{64})+)$", entry)
        assert pin, f"not a pinned requirement with hashes: {entry[:100]}"
        pins.setdefault(pin[1], []).append(pin[2])
    return pins


def test_lock_has_no_address():
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert "://" not in text
    assert "--index" not in text
    assert len(locked()) > 50


def test_lock_answers_every_direct_dependency():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    pins = locked()
    for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        wanted = Requirement(line)
        versions = pins.get(wanted.name.lower().replace("_", "-"), [])
        assert versions, f"{line} is not in requirements.lock: run make lock"
        assert all(wanted.specifier.contains(v) for v in versions), f"{line}: locked {versions}"


def test_uv_is_pinned_once():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pinned = re.search(r"^UV_VERSION := (\S+)$", makefile, re.MULTILINE)
    assert pinned
    assert locked()["uv"] == [pinned[1]]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the source archive, and the wheel that was built from that archive."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT],
        check=True,
        capture_output=True,
    )
    return out


@pytest.fixture(scope="module")
def elsewhere(built, tmp_path_factory) -> Path:
    """A fresh virtual environment with the wheel in it; its `bin` folder.

    The libraries are those of this environment: a `.pth` file adds their folder, and Python does
    not read the `.pth` files in a folder that is added so, hence the editable checkout stays out.
    """
    folder = tmp_path_factory.mktemp("venv") / "venv"
    env = {k: v for k, v in os.environ.items() if not k.startswith(("UV_", "VIRTUAL_ENV"))}
    uv = [sys.executable, "-m", "uv", "--offline", "--quiet", "--no-config"]
    subprocess.run([*uv, "venv", "--python", sys.executable, folder], check=True, env=env)
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    (wheel,) = built.glob("*.whl")
    install = [*uv, "pip", "install", "--python", scripts / "python", "--no-deps", wheel]
    subprocess.run(install, check=True, env=env)
    (site,) = folder.rglob("site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return scripts


@pytest.mark.wheel
@pytest.mark.slow
def test_source_archive(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert {"README.md", "LICENSE", "pyproject.toml", "data/schema.py", "data/py.typed"} <= names
    assert {name.split("/")[0] for name in names if name.endswith(".py")} == {*OURS, "notebooks"}


@pytest.mark.wheel
@pytest.mark.slow
def test_pages_are_in_the_wheel(built):
    (wheel,) = built.glob("*.whl")
    here = {
        p.relative_to(ROOT).as_posix() for kind in ("js", "css", "html") for p in ROOT.glob(f"backtest/**/*.{kind}")
    }
    assert {"backtest/explorer/explorer.js", "backtest/explorer/explorer.css"} <= here
    with zipfile.ZipFile(wheel) as packed:
        assert here <= set(packed.namelist())


@pytest.mark.wheel
@pytest.mark.slow
def test_installed_wheel_from_another_folder(elsewhere, tmp_path):
    code = f"""
import json, sys, importlib.metadata as metadata, {", ".join(OURS)}
owners = metadata.packages_distributions()
print(json.dumps({{
    "path": sys.path,
    "prefix": sys.prefix,
    "files": [m.__file__ for m in ({", ".join(OURS)})],
    "owners": [owners[name] for name in {OURS!r}],
}}))
"""
    seen = json.loads(python(elsewhere / "python", code, tmp_path))
    assert str(ROOT) not in seen["path"], "the editable checkout is visible: this test shows nothing"
    assert all(Path(file).is_relative_to(seen["prefix"]) for file in seen["files"])
    assert all(set(owners) == {"unwind"} for owners in seen["owners"])


@pytest.mark.wheel
@pytest.mark.slow
def test_installed_command(elsewhere, tmp_path):
    done = subprocess.run([elsewhere / "unwind", "--help"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: unwind" in done.stdout


@pytest.mark.wheel
@pytest.mark.slow
def test_installed_notebooks(elsewhere, tmp_path):
    pytest.importorskip("jupytext")
    code = "from pathlib import Path; from backtest.cli import lab_notebooks as n; print(len(n.make(Path('mine'))))"
    assert python(elsewhere / "python", code, tmp_path).strip() == "7"
    assert (tmp_path / "mine" / "01_quickstart.ipynb").is_file()
