"""The pages tell every key, verb, option and route that there is; their links and examples hold."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import pytest
from starlette.routing import Route

import cloud.cli
import edge.cli
import firmware_sim.cli
from drivers import registry
from drivers.contract import ProtocolKind
from drivers.tables import Key, describe
from edge import config
from edge.sampling import intake, lines
from edge.trouble import TEXTS
from edge.web import pages as web
from firmware_sim import scene

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OWN_TABLES = {
    "[node]": config.NodeTable,
    "[cloud]": config.CloudTable,
    "[outbox]": config.OutboxTable,
    "[health]": config.HealthTable,
    "[clock]": config.ClockTable,
    "[site]": config.SiteTable,
    "[control]": config.ControlTable,
    "[[line]]": lines.LineTable,
    "[[device]]": lines.DeviceTable,
    "Reporting by exception": intake.Report,
}
PROTOCOLS = ("modbus", "mqtt", "ble")
EXAMPLES = sorted((ROOT / "examples").rglob("*.toml"))


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next."""
    parts = re.split(r"^#+ (.*)$", (DOCS / page).read_text(), flags=re.MULTILINE)
    found = [text for title, text in zip(parts[1::2], parts[2::2], strict=True) if title.replace("`", "") == heading]
    assert found, f"docs/{page} has no section {heading}"
    return found[0]


def default(key: Key) -> str:
    """How a table says what holds when the key is left out."""
    match key.default:
        case _ if key.required:
            return "required"
        case None | "" | ():
            return "–"
        case bool():
            return str(key.default).lower()
        case float() if key.default == int(key.default):
            return f"{int(key.default)}"
        case _:
            return f"{key.default}"


def rows(keys: list[Key]) -> Iterator[str]:
    for key in keys:
        words = key.words
        yield f"| `{key.name}` | {words} | {default(key)} |"


@pytest.mark.parametrize("heading", OWN_TABLES)
def test_every_key_of_the_node_is_told_with_its_default(heading: str) -> None:
    text = section("configuration.md", heading)
    for row in rows(describe(OWN_TABLES[heading])):
        assert row in text, f"docs/configuration.md, {heading}: write a row that begins with {row}"
    told = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    assert told == [k.name for k in describe(OWN_TABLES[heading])], "no key that is none, and in their order"


def test_no_table_of_the_node_is_forgotten() -> None:
    tables = {f.name for f in msgspec.structs.fields(config._File)}
    assert tables == {h.strip("[]") for h in OWN_TABLES if h.startswith("[")}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_key_of_a_line_and_an_address_is_told_with_its_default(name: str) -> None:
    kind = registry.find(name)
    assert isinstance(kind, ProtocolKind)
    page = (DOCS / "profiles.md").read_text()
    for row in rows([*describe(kind.Line), *describe(kind.Address)]):
        assert row in page, f"docs/profiles.md: write a row that begins with {row}"
    assert f"profiles.md#{ {'ble': 'bluetooth-low-energy'}.get(name, name) }" in section("configuration.md", "[[line]]")


# ---- commands ----------------------------------------------------------------------------------------------------


def verbs(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every verb with its own parser, down to the last."""
    subs = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if not subs:
        yield path, parser
    for sub in subs:
        for name, child in sub.choices.items():
            yield from verbs(child, f"{path} {name}")


PARSERS = {
    "lamplighter-edge": edge.cli.parser(),
    "lamplighter-cloud": cloud.cli._parser(),
    "firmware-sim": firmware_sim.cli._parser(),
}


@pytest.mark.parametrize("program", PARSERS)
def test_every_verb_and_option_is_told(program: str) -> None:
    text = section("operations.md", program)
    for verb, parser in verbs(PARSERS[program], program):
        assert f"| `{verb}` |" in text, f"docs/operations.md does not tell `{verb}`"
        for action in parser._actions:
            option = next((o for o in action.option_strings if o.startswith("--")), None)
            if option is not None and option != "--help":
                assert f"`{option}`" in text, f"docs/operations.md does not tell {option} of `{verb}`"
    options = {o for _, p in verbs(PARSERS[program], program) for a in p._actions for o in a.option_strings}
    told = set(re.findall(r"`(--[a-z-]+)`", text))
    assert told <= options, "no option that there is not"


def test_every_exit_code_is_told() -> None:
    codes = set(re.findall(r"^\| (\d+) \|", section("operations.md", "Exit codes"), flags=re.MULTILINE))
    assert {"0", str(edge.cli.EXIT_FAILED), "2", str(edge.cli.EXIT_CONFIG)} <= codes


def test_every_reason_of_health_is_told() -> None:
    """The words that `edge/trouble.py` puts together stand in the table, with … where a value is."""
    texts = [text for text in TEXTS.values() if text != "{why}"]
    assert len(texts) >= 12
    table = section("operations.md", "Health")
    for text in texts:
        parts = [p.strip() for p in re.split(r"\{[^}]*\}", text)]
        told = [r for r in re.findall(r"^\| `([^`]+)` \|", table, flags=re.MULTILINE) if _fits(r, parts)]
        assert told, f"docs/operations.md, Health, does not explain: {text}"


def _fits(told: str, parts: list[str]) -> bool:
    """Whether the fixed words of a reason begin as the table says."""
    fixed = " … ".join(parts).strip()
    wanted = [w.strip(" :") for w in told.split("…") if w.strip(" :")]
    return all(w in fixed for w in wanted)


# ---- routes ------------------------------------------------------------------------------------------------------


def cloud_paths() -> list[str]:
    """From the aggregator's own table, as its OpenAPI document has it."""
    sources = "".join(p.read_text() for p in (ROOT / "cloud").rglob("*.py"))
    return sorted(set(re.findall(r'^\s+path="(/[^"]*)"', sources, flags=re.MULTILINE)))


def test_every_route_is_told() -> None:
    app = web.Pages(look=None, decided=None, alarms=None, explain=None).own_app()  # type: ignore[arg-type]
    node = [(r.path, r.methods or ()) for r in app.routes if isinstance(r, Route)]
    assert len(node) >= 9
    for path, methods in node:
        verb = "GET" if "GET" in methods else "POST"
        assert f"`{verb} {path}`" in section("operations.md", "The node's HTTP")
    paths = cloud_paths()
    assert len(paths) >= 9
    told = re.findall(r"(?:\$URL|`(?:GET |POST )?)(/[\w./{}-]*)", (DOCS / "api.md").read_text())
    for path in paths:
        shape = re.compile("[^/]+".join(map(re.escape, re.split(r"{[^}]*}", path))))
        assert any(shape.fullmatch(t) for t in told), f"docs/api.md does not tell {path}"


# ---- examples and links ------------------------------------------------------------------------------------------


class Anything(Mapping[str, str]):
    """An environment that has everything: digits, which are right for ports and names alike, others for each name."""

    def __init__(self, directory: Path) -> None:
        (directory / "node.token").write_text("token")
        self._known = {
            "DEMO_DIR": str(directory),
            "DEMO_CLOUD_URL": "http://127.0.0.1:1",
            "DEMO_MODBUS_SERIAL": "/dev/x",
        }

    def __getitem__(self, name: str) -> str:
        return self._known.setdefault(name, str(1502 + len(self._known)))

    def __contains__(self, name: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_example_loads(path: Path, tmp_path: Path) -> None:
    table = tomllib.loads(path.read_text())
    folder = tmp_path / "examples" / path.parent.name
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    if (node_file := folder / "node.toml").exists():  # this machine has no token where a node has it
        node_file.write_text(node_file.read_text().replace("/etc/lamplighter/token", str(tmp_path / "node.token")))
    if "node" in table:
        assert config.load(node_file, Anything(tmp_path)).roster.devices
    elif path.stem in ("rules", "plan"):  # they are checked with the node that goes by them
        node = config.load(node_file, Anything(tmp_path))
        assert folder / path.name in (*node.rules, node.plan)
    else:
        assert scene.load(path).devices


def toml_of(page: Path) -> list[str]:
    return re.findall(r"```toml\n(.*?)```", page.read_text(), flags=re.DOTALL)


def test_the_smallest_configuration_of_the_page_loads(tmp_path: Path) -> None:
    smallest = toml_of(DOCS / "configuration.md")[0]
    (tmp_path / "node.toml").write_text(smallest)
    (tmp_path / "token").write_text("secret")
    found = config.load(tmp_path / "node.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert [d.id for d in found.roster.devices] == ["lamp-0341"]
    lines = toml_of(DOCS / "configuration.md")[1]
    (tmp_path / "node.toml").write_text(smallest + lines)
    assert len(config.load(tmp_path / "node.toml", {"CREDENTIALS_DIRECTORY": str(tmp_path)}).lines) == 4


def pages() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


FOLDERS = "cloud|edge|drivers|wire|groundwork|tests|scripts|bench|firmware-sim|examples|systemd|docs"
NAMED = re.compile(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w\.(?:py|toml|md|cddl|service|svg|json)\b")
MODULE = re.compile(r"`((?:cloud|edge|drivers|wire|groundwork)(?:\.[a-z_0-9]+)+)")
MADE_UP = {  # names in the guide for whoever adds a driver; keys of the configuration
    "drivers/dlms.py", "drivers/profiles/acme-e350.toml", "tests/integration/test_driver_NAME.py", "cloud.url",
}  # fmt: skip


def sources() -> list[Path]:
    folders = ("cloud", "edge", "drivers", "wire", "groundwork", "tests", "scripts", "bench")
    return [path for folder in folders for path in (ROOT / folder).rglob("*.py")]


def test_every_file_and_module_that_is_named_is_there() -> None:
    wrong: list[str] = []
    tests = {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for page in [*pages(), *sources()]:
        text = page.read_text()
        for named in {*NAMED.findall(text), *MODULE.findall(text)} - MADE_UP:
            path = named if "/" in named else named.replace(".", "/")
            found = [ROOT / path, page.parent / path, ROOT / f"{path}.py", (ROOT / path).parent.with_suffix(".py")]
            if not any(f.exists() for f in (found[:2] if "/" in named else found)):
                wrong.append(f"{page.relative_to(ROOT)}: {named}")
        if page.suffix == ".md":
            wrong += [f"{page.name}: {t}" for t in re.findall(r"`(test_\w+\.py)`", text) if t not in tests]
    assert not wrong, "\n".join(wrong)


def test_every_promise_names_its_tests() -> None:
    text = (ROOT / "README.md").read_text().partition("## What it promises")[2].partition("\n## ")[0]
    promises = re.split(r"^\d\. ", text, flags=re.MULTILINE)[1:]
    assert len(promises) == 7
    for promise in promises:
        assert re.search(r"`tests/[\w/]+\.py`", promise), f"names no test: {promise}"


def anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}


@pytest.mark.parametrize("page", pages(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (page.parent / name) if name else page
        assert there.exists(), f"{page.name} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}: no such heading"


def test_pages_name_no_machine_of_ours() -> None:
    for page in [*pages(), ROOT / "Dockerfile.edge", *(ROOT / "systemd").iterdir()]:
        assert not re.search(r"/(work|home|root)/|pypi\.org|docker\.io|debian\.org", page.read_text()), page
