"""The agent's end of the wire, against servers and networks that misbehave."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from edgekit_runtime.agent import link as module
from edgekit_runtime.agent.link import Link, Refusal, Unreachable
from edgekit_runtime.agent.protocol import Enroll, Enrolled, ProtocolError
from edgekit_runtime.errors import EdgekitError, UsageError

from .fleet import TOKEN, Fleet

CONTENT = bytes(range(256)) * 1024
SIZE = len(CONTENT)
DIGEST = "d" * 64
PATH = f"/api/v1/bundles/{DIGEST}"


@pytest.fixture
def fleet():
    server = Fleet()
    server.files[DIGEST] = CONTENT
    server.devices["pi"] = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
    yield server
    server.close()


def fetch(link: Link, target: Path, size=SIZE, stopped=lambda: False, progress=lambda share: None) -> None:
    link.download(PATH, target, size, "pi:secret", progress, stopped)


def test_a_download_goes_on_where_it_broke_off(fleet, tmp_path):
    target = tmp_path / "part"

    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:100_000])
        handler.close_connection = True
        return True

    fleet.answer = cut
    with pytest.raises(Unreachable, match="broke off"):
        fetch(Link(fleet.url), target)
    assert 0 < target.stat().st_size <= 100_000
    fleet.answer = lambda handler: False
    shares = []
    fetch(Link(fleet.url), target, progress=shares.append)
    assert target.read_bytes() == CONTENT and fleet.asked[-1][1] != "bytes=0-"
    assert shares == sorted(shares) and shares[-1] == 1.0
    fetch(Link(fleet.url), target)
    assert len(fleet.asked) == 2, "what is whole is not asked for again"


def test_a_server_that_ignores_the_range_sends_it_all_again(fleet, tmp_path):
    target = tmp_path / "part"
    target.write_bytes(b"x" * 1000)

    def whole(handler):
        handler.say(200, CONTENT)
        return True

    fleet.answer = whole
    fetch(Link(fleet.url), target)
    assert target.read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_begun_anew(fleet, tmp_path):
    (tmp_path / "part").write_bytes(b"x" * (len(CONTENT) + 1))
    fetch(Link(fleet.url), tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == CONTENT


def answering(status, content=b"{}", **head):
    def answer(handler):
        handler.say(status, content, **head)
        return True

    return answer


@pytest.mark.parametrize(
    ("answer", "error", "why"),
    [
        (answering(200, CONTENT + b"more"), Refusal, "sends more than"),
        (answering(200, CONTENT[:10]), Unreachable, "broke off after 10 of"),
        (answering(206, CONTENT, Content_Range="bytes 7-9/10"), Refusal, "another part"),
        (answering(302, b"", Location="http://127.0.0.1:9/elsewhere"), Refusal, "answers 302"),
        (answering(404, b'{"error": "there is no such\\n bundle"}'), Refusal, "404: there is no such bundle"),
        (answering(503, b"<html>", Retry_After="17"), Unreachable, "answers 503"),
        (answering(500, b'{"error": [[[[]]]]}'), Unreachable, "answers 500"),
    ],
)
def test_a_download_that_goes_wrong_is_one_sentence(fleet, tmp_path, answer, error, why):
    fleet.answer = answer
    with pytest.raises(error, match=why) as raised:
        fetch(Link(fleet.url), tmp_path / "part")
    assert "\n" not in str(raised.value)
    if why.endswith("503"):
        assert raised.value.after == 17.0


def test_a_download_is_given_up_when_asked(fleet, tmp_path):
    with pytest.raises(Unreachable, match="given up"):
        fetch(Link(fleet.url), tmp_path / "part", stopped=lambda: True)
    assert (tmp_path / "part").stat().st_size > 0, "what came is kept"


def test_a_download_that_drips_can_be_given_up(fleet, tmp_path):
    go_on = threading.Event()

    def drip(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(SIZE))
        handler.end_headers()
        handler.wfile.write(b"x")
        go_on.wait(60)
        handler.close_connection = True
        return True

    fleet.answer = drip
    with pytest.raises(Unreachable, match="given up"):
        fetch(Link(fleet.url, timeout=50), tmp_path / "part", stopped=lambda: True)
    assert not go_on.is_set() and (tmp_path / "part").read_bytes() == b"x"
    go_on.set()


def test_no_room_is_said_before_the_first_byte(fleet, tmp_path, monkeypatch):
    usage = os.statvfs(tmp_path)
    with pytest.raises(EdgekitError, match=r"bytes are to come and .* are free"):
        fetch(Link(fleet.url), tmp_path / "part", size=usage.f_bavail * usage.f_frsize + 1)
    assert fleet.asked == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_on_the_way_is_one_sentence(fleet, tmp_path, monkeypatch):
    (tmp_path / "part").symlink_to("/dev/full")
    with pytest.raises(EdgekitError, match="cannot write .*part .*: make room on the device"):
        fetch(Link(fleet.url), tmp_path / "part")


def test_a_server_that_says_nothing_is_left(fleet, tmp_path):

    release = threading.Event()

    def silent(handler):
        release.wait(20)
        return True

    fleet.answer = silent
    with pytest.raises(Unreachable, match="timed out"):
        fetch(Link(fleet.url, timeout=0.3), tmp_path / "part")
    release.set()


def test_messages_and_what_the_server_says_of_them(fleet):
    link = Link(fleet.url)
    asked = Enroll("pi-2", "a" * 64)
    assert link.call("/api/v1/enroll", asked, Enrolled, TOKEN) == Enrolled("pi-2", 0.1)
    assert link.call("/api/v1/enroll", asked, Enrolled, TOKEN).device == "pi-2", "a lost answer is asked for again"
    for message, token, status in ((Enroll("pi-2", "b" * 64), TOKEN, 409), (asked, "wrong", 401)):
        with pytest.raises(Refusal) as raised:
            link.call("/api/v1/enroll", message, Enrolled, token)
        assert raised.value.status == status
    for nonsense in (b"", b"[]", b'{"device": 1}', b"{" * 100_000, b'{"device": "' + b"x" * 5_000_000):
        fleet.answer = answering(200, nonsense)
        with pytest.raises((ProtocolError, Refusal)):
            link.call("/api/v1/enroll", asked, Enrolled, TOKEN)


def test_nobody_listens():
    with pytest.raises(Unreachable, match="does not answer"):
        Link("http://127.0.0.1:9").call("/api/v1/enroll", Enroll("pi", "a" * 64), Enrolled, TOKEN)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("fleet.example", "not the address"),
        ("ftp://fleet.example", "not the address"),
        ("https://user:pw@fleet.example", "not the address"),
        ("https://fleet.example:nine", "not an address"),
        ("http://fleet.example", "in the clear"),
        ("http://127.evil.example", "in the clear"),
    ],
)
def test_an_address_that_is_none_or_not_safe_is_refused(url, why):
    with pytest.raises(UsageError, match=why):
        Link(url)


def test_http_to_another_machine_needs_a_word_and_to_this_one_does_not():
    assert Link("http://fleet.example", insecure=True).url and Link("http://localhost:1").url and module.Link


def test_authorities_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(UsageError, match="cannot read the authorities"):
        Link("https://fleet.example", ca=str(tmp_path / "gone.pem"))
