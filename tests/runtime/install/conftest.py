"""A folder of bundles where a service could see them, and the verb."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgekit_runtime import cli
from edgekit_runtime.bundle import write_bundle

from ..conftest import double_manifest

GOLDEN = Path(__file__).with_name("golden")


@pytest.fixture
def bundle(tmp_path) -> Path:
    path = tmp_path / "double.edgekit"
    write_bundle(path, *double_manifest())
    return path


@pytest.fixture
def install(capsys) -> Callable[..., dict]:
    """Run the verb; its JSON."""

    def run(*arguments: object) -> dict:
        with pytest.raises(SystemExit) as end:
            cli.main(["install", *map(str, arguments), "--json"])
        printed = capsys.readouterr()
        assert end.value.code == 0, printed.err
        return json.loads(printed.out)

    return run


@pytest.fixture
def refusal(capsys) -> Callable[..., str]:
    """Run the verb with what it does not take; its sentence."""

    def run(*arguments: object, code: int = 2) -> str:
        with pytest.raises(SystemExit) as end:
            cli.main(["install", *map(str, arguments)])
        printed = capsys.readouterr()
        assert end.value.code == code and not printed.out and printed.err.count("\n") == 1, printed.err
        return printed.err

    return run


@pytest.fixture
def in_the_open() -> Iterator[Path]:
    """A folder that another user can read."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101, S103
        yield Path(folder)


def same_as_golden(name: str, text: str) -> None:
    """Compare with a golden file; EDGEKIT_GOLDEN=write writes it instead."""
    path = GOLDEN / name
    if os.environ.get("EDGEKIT_GOLDEN") == "write":
        path.write_text(text, "utf-8")
    assert path.read_text("utf-8") == text, (
        f"{name} is another: EDGEKIT_GOLDEN=write writes it, then read the difference"
    )
