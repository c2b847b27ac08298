"""Units, read by systemd itself."""

from __future__ import annotations

import json
import os
import re
import signal
import string
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgekit_runtime.install.systemd import quoted

from .conftest import same_as_golden

TRUE = "/usr/bin/true"
ELSEWHERE = "/opt/models/cats.edgekit"
NASTY = [
    "a b", 'a"b', "a'b", "a\\b", "\\n", "%", "%%n", "$HOME", "${HOME}", "$$", ";", "|", "a;b", "", "=", "~", "*", "?x",
    "ä ü", "-", "--x=a b", "#", "!x", "@x", ":", "a\\x20b", "(", "{}", "`id`", "<", "%i%H", *(
        f"a{c}b" for c in string.punctuation
    ),
]  # fmt: skip


def security(path: Path) -> float:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=yes", str(path)], capture_output=True, text=True, check=True
    )
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stdout[-500:]
    return float(found[1])


def units(folder: Path, said: dict) -> list[Path]:
    for name, text in said["files"].items():
        (folder / name).write_text(text)
    return [folder / name for name in said["files"]]


WAYS = {
    "serve": [ELSEWHERE],
    "store": ["--store=/var/lib/edgekit", "--socket=/run/edgekit/serve.sock"],
    "open": [ELSEWHERE, "--host=0.0.0.0", "--token-file=/etc/edgekit/token", "--max-batch=4", "--no-monitor"],
    "fleet": ["--fleet=https://fleet.example", "--key=/etc/edgekit/release.pem", "--group=line-1",
              "--fleet-token-file=/etc/edgekit/enrol", "--watch=/etc/edgekit/camera.toml", "--device=camera"],
    "jetson": [ELSEWHERE, "--device=jetson"],
    "coral": [ELSEWHERE, "--device=coral", "--device=coral-usb"],
    "home": ["/home/pi/cats.edgekit", "--run-as=pi", "--host=0.0.0.0", "--token-file=/etc/edgekit/token"],
    "user": [ELSEWHERE, "--user"],
}  # fmt: skip


@pytest.mark.tool("systemd-analyze")
@pytest.mark.parametrize("way", WAYS)
def test_systemd_takes_the_units_and_finds_them_closed(install, tmp_path, way):
    said = install("--systemd", f"--program={TRUE}", *WAYS[way])
    paths = units(tmp_path, said)
    manager = ["--user"] if way == "user" else []
    done = subprocess.run(
        ["systemd-analyze", *manager, "verify", "--man=no", *map(str, paths)],
        capture_output=True, text=True, check=False, env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    ours = [line for line in done.stderr.splitlines() if any(p.name in line for p in paths)]
    assert done.returncode == 0 and not ours, done.stderr
    if way != "user":  # 10 is wide open; what is left is the network, and what a device needs
        assert all(security(path) <= 2.0 for path in paths)


@pytest.mark.parametrize("way", WAYS)
def test_units_are_as_they_were(install, way):
    said = install("--systemd", f"--program={TRUE}", *WAYS[way])
    text = "".join(f"# ---- {name}\n{content}" for name, content in said["files"].items())
    same_as_golden(f"systemd-{way}.txt", text + "\n".join(["# ---- then", *said["commands"], *said["notes"], ""]))


@pytest.mark.tool("systemd-analyze")
def test_every_word_reaches_the_program_as_it_is(in_the_open):
    words = " ".join(map(quoted, NASTY))
    (in_the_open / "words.service").write_text(f"[Service]\nExecStart={TRUE} {words}\n")
    systemd = next(p for p in ("/usr/lib/systemd/systemd", "/lib/systemd/systemd") if Path(p).exists())
    done = subprocess.run(
        [systemd, "--system", "--test", "--unit=words.service"],
        env={"SYSTEMD_UNIT_PATH": f"{in_the_open}:", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        capture_output=True, text=True, check=False, user="nobody" if os.geteuid() == 0 else None,
    )  # fmt: skip
    line = next(t for t in done.stdout.splitlines() if "Command Line:" in t and "a b" in t)
    # systemd prints a word as it is, or in double quotes with backslashes before what a shell would expand
    printed = re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line.partition("Command Line:")[2])
    read = [bare if bare else re.sub(r"\\(.)", r"\1", inside) for inside, bare in printed][1:]
    # what is left to be done when the program is started: $$ becomes $
    assert [re.sub(r"\$\$", "$", word) for word in read] == NASTY


@pytest.mark.parametrize("word", ["a\nb", "a\rExecStart=/bin/sh", "a\x00b", "a\tb", "\x1b[2J", "\u2028"])
def test_a_word_that_would_end_its_line_is_refused(word, refusal):
    with pytest.raises(ValueError, match="cannot be in a unit"):
        quoted(word)
    if "\0" not in word:
        assert "characters" in refusal("--systemd", f"/opt/{word}.edgekit", f"--program={TRUE}")


@pytest.mark.tool("strace", "systemd-analyze", "curl")
def test_a_server_makes_no_call_that_its_unit_forbids(bundle, tmp_path, needs_backend):
    needs_backend("litert")
    pytest.importorskip("uvicorn", reason="serving needs uvicorn, not installed in this environment")
    log, path = tmp_path / "calls", tmp_path / "s"
    words = [sys.executable, "-m", "edgekit_runtime", "serve", str(bundle), f"--socket={path}", "--json"]
    with subprocess.Popen(["strace", "-f", "-qq", "-o", str(log), *words], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and json.loads(running.stdout.readline())["models"] == ["double"]
        until, status = time.monotonic() + 60, 0
        while status != 200:
            assert time.monotonic() < until
            done = subprocess.run(
                ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "--unix-socket", str(path), "http://x/v2/health/ready"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            status = int(done.stdout or 0)
        body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
        subprocess.run(["curl", "-sf", "-d", json.dumps(body), "--unix-socket", str(path), "http://x/v2/models/double/infer"],
                       check=True, capture_output=True)  # fmt: skip
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGTERM)
        assert running.wait(30) == 0
    used = set(re.findall(r"^\d+\s+([a-z_0-9]+)\(", log.read_text(errors="replace"), re.MULTILINE))
    assert len(used) > 30 and not used - allowed("@system-service") and not used & allowed("@privileged")


def allowed(group: str) -> set[str]:
    done = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = [line.strip() for line in done.stdout.splitlines()[1:]]
    names = [name for name in names if name and not name.startswith("#")]
    return {call for name in names for call in (allowed(name) if name.startswith("@") else {name})}


def test_now_writes_and_enables(install, tmp_path, monkeypatch):
    log = tmp_path / "log"
    control = tmp_path / "bin/systemctl"
    control.parent.mkdir()
    control.write_text(f'#!/bin/sh\necho "$@" >> {log}\n')
    control.chmod(0o755)
    monkeypatch.setenv("PATH", str(control.parent), prepend=os.pathsep)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    install("--systemd", ELSEWHERE, "--user", "--now", f"--program={TRUE}")
    assert (tmp_path / "config/systemd/user/edgekit-serve.service").read_text().count("ExecStart=") == 1
    assert log.read_text().splitlines() == ["--user daemon-reload", "--user enable --now edgekit-serve.service"]


def test_what_fails_in_systemctl_is_said(refusal, tmp_path, monkeypatch):
    control = tmp_path / "bin/systemctl"
    control.parent.mkdir()
    control.write_text("#!/bin/sh\necho no bus >&2\nexit 1\n")
    control.chmod(0o755)
    monkeypatch.setenv("PATH", str(control.parent))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert "no bus" in refusal("--systemd", ELSEWHERE, "--user", "--now", f"--program={TRUE}", code=1)
    control.unlink()
    assert "systemctl" in refusal("--systemd", ELSEWHERE, "--user", "--now", f"--program={TRUE}", code=4)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to install"),
        (["/home/pi/cats.edgekit"], "--run-as"),
        (["/tmp/cats.edgekit"], "a /tmp of its own"),  # noqa: S108
        (["cats.edgekit"], "is not here"),
        ([ELSEWHERE, "/opt/other/cats.edgekit"], "one file name"),
        ([ELSEWHERE, "--host=0.0.0.0"], "there is no token"),
        ([ELSEWHERE, "--host=a b"], "not one word"),
        ([ELSEWHERE, "--port=0"], "another one at each start"),
        ([ELSEWHERE, "--grpc-port=8080"], "two ports are not one"),
        ([ELSEWHERE, "--socket=/run/x/y", "--grpc-port=8081", "--host=0.0.0.0"], "there is no token"),
        ([ELSEWHERE, "--port=70000"], "is not between"),
        ([ELSEWHERE, "--queue=0"], "is not between"),
        ([ELSEWHERE, "--name=a/b"], "--name"),
        ([ELSEWHERE, "--name=A"], "--name"),
        ([ELSEWHERE, "--run-as=a\nb"], "--run-as"),
        ([ELSEWHERE, "--run-as=pi", "--user"], "run as that user"),
        ([ELSEWHERE, "--program=edgekit-runtime"], "absolute path"),
        ([ELSEWHERE, "--socket=/var/x/y/s"], "/run/NAME/SOCKET"),
        ([ELSEWHERE, "--token-file=/etc/a b"], "rename the token's file"),
        (["--fleet=fleet.example", "--allow-unsigned"], "is not the URL"),
        (["--fleet=https://fleet.example"], "no key is pinned"),
        (["--fleet=https://fleet.example", "--allow-unsigned", "--group=a b"], "not one word"),
        ([ELSEWHERE, "--now", "--output=x"], "--now is for"),
    ],
)
def test_what_cannot_be_installed_is_one_sentence(refusal, arguments, said):
    program = [] if any(str(a).startswith("--program") for a in arguments) else [f"--program={TRUE}"]
    assert said in refusal("--systemd", *arguments, *program)


def test_files_are_written_where_they_are_wanted(install, tmp_path, refusal):
    install("--systemd", ELSEWHERE, f"--program={TRUE}", f"--output={tmp_path}/a/b", "--name=cats")
    assert [p.name for p in (tmp_path / "a/b").iterdir()] == ["cats.service"]
    (tmp_path / "file").write_text("")
    assert "cannot write" in refusal("--systemd", ELSEWHERE, f"--program={TRUE}", f"--output={tmp_path}/file", code=1)


def test_it_starts_this_interpreter_unless_told_otherwise(install, monkeypatch):
    monkeypatch.setattr("sys.executable", "/opt/edgekit/bin/python3")
    (text,) = install("--systemd", ELSEWHERE)["files"].values()
    assert f"ExecStart=/opt/edgekit/bin/python3 -m edgekit_runtime serve {ELSEWHERE} " in text
