"""The wheel of edgekit-runtime that a board gets: the very code that is imported here, checkout or installation."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import edgekit_runtime
from edgekit_runtime.errors import MissingRequirement

_EPOCH = (1980, 1, 1, 0, 0, 0)


def runtime_wheel() -> tuple[str, bytes]:
    """Name and content of the wheel; equal code gives equal bytes.

    It is put together here, not by a build tool: pure Python with metadata that is installed already is a zip file with
    a list of hashes (the wheel format's specification), and an offline workstation has no build tool to fetch.

    Raises:
        MissingRequirement: edgekit-runtime is imported from somewhere without being installed.
    """
    try:
        found = distribution("edgekit-runtime")
    except PackageNotFoundError as error:
        raise MissingRequirement("edgekit-runtime is not installed here", 'pip install "edgekit-runtime"') from error
    stem = f"edgekit_runtime-{found.version}"
    package = Path(edgekit_runtime.__file__).parent
    members = {
        f"edgekit_runtime/{path.relative_to(package).as_posix()}": path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"
    }
    for name in ("METADATA", "entry_points.txt"):
        members[f"{stem}.dist-info/{name}"] = (found.read_text(name) or "").encode()
    members[f"{stem}.dist-info/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: edgekit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    rows = [f"{name},sha256={_hash(content)},{len(content)}" for name, content in members.items()]
    record = f"{stem}.dist-info/RECORD"
    members[record] = "\n".join([*rows, f"{record},,", ""]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, _EPOCH)
            member.external_attr = 0o644 << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            wheel.writestr(member, content)
    return f"{stem}-py3-none-any.whl", out.getvalue()


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
