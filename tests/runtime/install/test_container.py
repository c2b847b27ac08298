"""The container file: read instruction by instruction, its words by our own parser, its probe against a real server.

No image is built here: that needs a base image from a registry.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit_runtime import cli

from ..serve.test_server import needs_uvicorn, process  # noqa: F401
from .conftest import same_as_golden

ROOT = Path(__file__).parents[3]
INSTRUCTIONS = {
    "ARG", "FROM", "COPY", "RUN", "LABEL", "ENV", "USER", "WORKDIR", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
    "ENTRYPOINT", "CMD",
}  # fmt: skip


def instructions(text: str) -> list[tuple[str, str]]:
    """As a builder reads them: comments and continued lines gone."""
    joined = re.sub(r"\\\n", " ", "\n".join(t for t in text.splitlines() if not t.lstrip().startswith("#")))
    found = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    assert all(len(words) == 2 and words[0] in INSTRUCTIONS for words in found), found
    return [(name, rest.strip()) for name, rest in found]


def written(install, bundle, *options):
    said = install("--container", bundle, *options)
    return said, instructions(said["files"]["Containerfile"])


def test_the_container_file_is_as_it_was(install, bundle):
    same_as_golden("Containerfile", install("--container", bundle)["files"]["Containerfile"])


def test_two_stages_and_no_root(install, bundle):
    _, lines = written(install, bundle, "--port=9000", "--max-batch=4")
    names = [name for name, _ in lines]
    values = dict(lines)
    assert names[0] == "ARG" and names.count("FROM") == 2 and names.count("USER") == 1
    assert lines[-1][0] == "CMD" and names.index("USER") > names.index("COPY")
    assert values["USER"] == "10001:10001" and values["EXPOSE"] == "9000"
    first = next(rest for name, rest in lines if name == "RUN")
    assert "edgekit-runtime[litert,serve]==" in first and "--only-binary=:all:" in first
    assert subprocess.run(["sh", "-n", "-c", first], check=False).returncode == 0
    copied = {word for name, rest in lines if name == "COPY" and "--from" not in rest for word in rest.split()[:-1]}
    assert copied == {"constraints.txt", "wheels/", "models/"}


def test_its_words_are_those_of_the_verb(install, bundle):
    _, lines = written(install, bundle, "--port=9000", "--max-batch=4", "--trust")
    words = json.loads(dict(lines)["CMD"])
    options = cli.command_line().parse_args(words)
    assert (options.verb, options.port, options.max_batch, options.trust) == ("serve", 9000, 4, True)
    assert options.bundles == ["/models/double.edgekit"] and options.token_file == "/run/secrets/edgekit-token"  # noqa: S105


def test_it_is_written_with_all_that_its_build_needs(install, bundle, tmp_path):
    install("--container", bundle, f"--output={tmp_path}/context")
    files = {str(p.relative_to(tmp_path / "context")) for p in (tmp_path / "context").rglob("*") if p.is_file()}
    assert files == {"Containerfile", "constraints.txt", "wheels/README", "models/double.edgekit"}
    assert (tmp_path / "context/models/double.edgekit").read_bytes() == bundle.read_bytes()


@pytest.mark.skipif(not (ROOT / "constraints-device.txt").is_file(), reason="the tree is not here, the package alone")
def test_the_pins_are_those_that_are_tested(install, bundle):
    said = install("--container", bundle)
    assert said["files"]["constraints.txt"] == (ROOT / "constraints-device.txt").read_text("utf-8")


def test_its_probe_tells_a_ready_server_from_none(install, bundle, needs_uvicorn):  # noqa: F811
    with process(str(bundle), "--port", "0") as where:
        port = int(where.rpartition(":")[2])
        _, lines = written(install, bundle, f"--port={port}")
        words = json.loads(dict(lines)["HEALTHCHECK"].partition("CMD ")[2])
        assert words[0] == "/opt/edgekit/bin/python"
        probe = [sys.executable, *words[1:]]
        assert subprocess.run(probe, check=False, capture_output=True).returncode == 0
    assert subprocess.run(probe, check=False, capture_output=True).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to serve"),
        (["/opt/none.edgekit"], "copied into the image"),
        (["BUNDLE", "--store=/var/lib/edgekit"], "is for --systemd"),
        (["BUNDLE", "--socket=/run/x/y"], "is for --systemd"),
        (["BUNDLE", "--fleet=https://x"], "is for --systemd"),
        (["BUNDLE", "--base=a\nRUN evil"], "is not the name of an image"),
        (["BUNDLE", "--base=a b"], "is not the name of an image"),
        (["BUNDLE", "--now"], "--now is for"),
    ],
)
def test_what_a_container_cannot_have_is_one_sentence(refusal, bundle, arguments, said):
    assert said in refusal("--container", *(bundle if a == "BUNDLE" else a for a in arguments))


def test_a_file_that_is_no_bundle_is_refused(refusal, tmp_path):
    (tmp_path / "x.edgekit").write_text("x")
    refusal("--container", tmp_path / "x.edgekit", code=1)
    refusal("--container", tmp_path, code=1)
