"""What docs/ says is what the code does: generated pages are current, the schema and the reader agree, links hold."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from edgekit_runtime.errors import BundleError
from edgekit_runtime.manifest import Manifest, Member

from .runtime.conftest import double_manifest

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/reference"


def generate(*options: str, docs: Path = ROOT / "docs") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(docs / "generate.py"), *options], capture_output=True, text=True, check=False
    )


def test_the_reference_says_what_the_code_says():
    done = generate("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_page_that_drifts_is_named_and_put_right(tmp_path):
    import shutil

    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    page = tmp_path / "docs/reference/edgekit.md"
    good = page.read_text()
    page.write_text(good.replace("`--max-drop", "`--maximum-drop"))
    done = generate("--check", docs=tmp_path / "docs")
    assert done.returncode == 1 and "edgekit.md is not what the code says" in done.stdout
    assert page.read_text() != good
    assert generate(docs=tmp_path / "docs").returncode == 0 and page.read_text() == good
    (tmp_path / "docs/reference/stray.md").write_text("x")
    assert generate("--check", docs=tmp_path / "docs").returncode == 1


def sections(name: str, program: str) -> dict[str, str]:
    parts = re.split(rf"^## {program} (\w+(?: \w+)*)\n", (REFERENCE / name).read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_and_option_of_edgekit_is_described():
    """As its own help prints it, on a terminal that is wide enough not to cut anything."""
    import os

    pages = sections("edgekit.md", "edgekit")
    program = "from edgekit.cli import main; main()"
    wide = {**os.environ, "COLUMNS": "400", "NO_COLOR": "1", "TERM": "dumb"}

    def help_of(*words: str) -> str:
        command = [sys.executable, "-c", program, *words, "--help"]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=wide).stdout

    def commands(*words: str) -> list[tuple[str, ...]]:
        """Every command, as the words that call it; a group names its own."""
        listed = help_of(*words).split("─ Commands")
        if len(listed) == 1:
            return [words]
        return [c for name in re.findall(r"^│ (\w+) ", listed[1], re.MULTILINE) for c in commands(*words, name)]

    found = commands()
    assert {" ".join(words) for words in found} == set(pages) and len(found) >= 8
    for words in found:
        for option in re.findall(r"(--[a-z][a-z-]*)", re.sub(r"`[^`]*`", "", help_of(*words))):
            assert f"`{option}" in pages[" ".join(words)], f"{words} {option}"


def test_every_command_and_option_of_the_runtime_is_described(capsys):
    from edgekit_runtime.cli import main

    pages = sections("edgekit-runtime.md", "edgekit-runtime")
    for name, text in pages.items():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        printed = capsys.readouterr().out
        options = set(re.findall(r"(--[a-z][a-z-]*)", printed))
        assert options and options == set(re.findall(r"`(--[a-z][a-z-]*)", text))
    with pytest.raises(SystemExit):
        main(["--help"])
    verbs = re.search(r"\{([\w,]+)\}", capsys.readouterr().out)
    assert verbs and set(verbs.group(1).split(",")) == set(pages)


def test_no_page_holds_terminal_codes_or_lost_placeholders():
    for page in REFERENCE.iterdir():
        text = page.read_text()
        assert "\x1b" not in text and "<object" not in text and "functools" not in text and "MISSING" not in text


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    plain = json.loads((REFERENCE / "manifest.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(plain)
    return jsonschema.Draft202012Validator(plain)


@pytest.fixture(scope="module")
def good() -> dict:
    manifest, members = double_manifest()
    files = {name: Member(len(content), "0" * 64) for name, content in members.items()}
    return json.loads(manifest.replace(files=files).to_json())


def test_the_schema_takes_what_the_reader_takes(schema, good):
    schema.validate(good)
    Manifest.from_json(json.dumps(good))
    newer = {**good, "schema": "1.7", "something new": {"of": "a later minor version"}}
    schema.validate(newer)
    Manifest.from_json(json.dumps(newer))


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in plain data that has a name or a number."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for key, inner in items for p in ((*path, key), *places(inner, (*path, key)))]


@pytest.mark.parametrize("wrong", ["missing", None, True, -7, 0.5, "nonsense", [], {}], ids=str)
def test_the_schema_refuses_no_more_and_no_less_than_the_reader(schema, good, wrong):
    """One place after another gets a wrong value; the two judge alike, but for what only the reader can know."""
    beyond_types = re.compile(
        r"not among its files|has no variant|does not bind|names are not unique|negative extent|does not reorder"
        r"|names a variant twice"
    )
    refused = 0
    for path in places(good):
        changed = copy.deepcopy(good)
        parent = changed
        for key in path[:-1]:
            parent = parent[key]
        if wrong == "missing":
            del parent[path[-1]]
        else:
            parent[path[-1]] = wrong
        fits = schema.is_valid(changed)
        try:
            Manifest.from_json(json.dumps(changed))
        except BundleError as error:
            assert not fits or beyond_types.search(str(error)), (path, wrong, str(error))
            refused += not fits
        else:
            # hashes are compared when the file is opened, kinds when the specification is made
            assert fits or path[-1] in ("sha256", "kind", "bytes"), (path, wrong)
    assert refused > 20


def test_every_link_and_path_in_the_docs_leads_somewhere():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        text = page.read_text()
        for link in re.findall(r"\]\(([^)#]+)(?:#[\w-]+)?\)", text):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page.name}: {link}"
        for path in re.findall(r"`((?:sdk|converters|devices|tests|docs|examples)/[\w/.-]+\.\w+)`", text):
            assert "NAME" in path or (ROOT / path).exists(), f"{page.name}: {path}"


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs/index.md").read_text()
    pages = [p.relative_to(ROOT / "docs").as_posix() for p in (ROOT / "docs").rglob("*.md") if p.name != "index.md"]
    pages.append("reference/manifest.schema.json")
    assert not [p for p in pages if f"({p})" not in index]
