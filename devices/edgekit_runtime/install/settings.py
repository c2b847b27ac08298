"""What is to be installed, checked once for every way of installing it."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional
from urllib.parse import urlsplit

from edgekit_runtime.errors import BundleError, UsageError
from edgekit_runtime.serve import command as serving

DEVICES = ("coral", "coral-usb", "jetson", "camera")
NAME = re.compile(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?")
_PLACES = ("bundles", "store", "socket", "token_file", "key")  # options that are paths: where they lie is said anew


@dataclass(frozen=True)
class Settings:
    """What is to be installed.

    Attributes:
        name: Of the serving process's unit, container or Kubernetes objects.
        bundles: Files to serve; absolute paths.
        words: Further words of ``edgekit-runtime serve``, without paths.
        store: Store to serve the slots of, or None.
        host: Interface.
        port: TCP port.
        grpc_port: TCP port for gRPC besides, or None.
        socket: Unix socket instead, or None.
        token_file: File with the server's token, or None.
        keys: Files of public keys.
        devices: Of `DEVICES`, what the service may use.
        formats: Model formats in the bundles that are here; empty where none is.
        missing: Of all those paths, what is not there on this machine.
    """

    name: str
    bundles: tuple[str, ...]
    words: tuple[str, ...]
    store: Optional[str]
    host: str
    port: int
    grpc_port: Optional[int]
    socket: Optional[str]
    token_file: Optional[str]
    keys: tuple[str, ...]
    devices: tuple[str, ...]
    formats: tuple[str, ...]
    missing: tuple[str, ...]


def settings(options: argparse.Namespace) -> Settings:
    """Check options.

    Raises:
        UsageError: One is wrong; the sentence names it.
        BundleError: A bundle that is here is none.
    """
    serving.check(options)
    if not NAME.fullmatch(options.name):
        raise UsageError(f"--name {options.name!r:.60} is not of small letters, digits and hyphens, 40 at most")
    if 0 in (options.port, options.grpc_port) or options.port == options.grpc_port:
        raise UsageError("port 0 is another one at each start, and two ports are not one", "name the service's ports")
    words = []
    for name, default in _defaults().items():
        value = getattr(options, name)
        if name in ("host", "port", *_PLACES) or value == default:
            continue
        flag = f"--{name.replace('_', '-')}"
        words.append(flag if value is True else f"{flag}={value:g}" if isinstance(value, float) else f"{flag}={value}")
    missing: list[str] = []
    bundles = [absolute(b, "bundle", missing) for b in options.bundles]
    if len({Path(b).name for b in bundles}) < len(bundles):
        raise UsageError("two bundles have one file name", "rename one")
    return Settings(
        options.name,
        tuple(bundles),
        tuple(words),
        absolute(options.store, "--store", missing) if options.store else None,
        one_word(options.host, "--host"),
        options.port,
        options.grpc_port,
        absolute(options.socket, "--socket", []) if options.socket else None,
        absolute(options.token_file, "--token-file", missing) if options.token_file else None,
        tuple(absolute(k, "--key", missing) for k in options.key),
        tuple(sorted(set(options.device))),
        _formats([b for b in bundles if b not in missing]),
        tuple(missing),
    )


def absolute(path: str, what: str, missing: list[str]) -> str:
    """A path that means the same for a service; one that is not here must be absolute, and is put into `missing`.

    Raises:
        UsageError: It has characters that cannot be printed, or is relative and not here.
    """
    if not path.isprintable() or not path:
        raise UsageError(f"{what} {path!r:.80} has characters that no file of a service should have")
    if Path(path).exists():
        return str(Path(path).absolute())
    if not Path(path).is_absolute():
        raise UsageError(f"{what} {path:.200} is not here", "name its absolute path where it is on another machine")
    missing.append(path)
    return path


def one_word(text: str, what: str) -> str:
    """Text without spaces and what cannot be printed.

    Raises:
        UsageError: It has some.
    """
    if not text or not text.isprintable() or " " in text:
        raise UsageError(f"{what} {text!r:.80} is not one word")
    return text


def server_url(text: str) -> str:
    """The address of a fleet server.

    Raises:
        UsageError: It is none.
    """
    try:
        parts = urlsplit(one_word(text, "--fleet"))
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:  # asking for it checks it
            return text
    except ValueError:
        pass
    raise UsageError(f"--fleet {text!r:.80} is not the URL of a server", "write https://HOST")


def program(given: Optional[str]) -> tuple[str, ...]:
    """The words that start edgekit-runtime: a program, or this interpreter."""
    if given is None:
        return (sys.executable, "-m", "edgekit_runtime")
    if not given.startswith("/"):
        raise UsageError(f"--program {given:.80} is not an absolute path")
    return (absolute(given, "--program", []),)


def _defaults() -> dict[str, Any]:
    parser = argparse.ArgumentParser(add_help=False)
    serving.flags(parser)
    return vars(parser.parse_args([]))


def _formats(bundles: Sequence[str]) -> tuple[str, ...]:
    from edgekit_runtime.bundle import Bundle

    found = set()
    for path in bundles:
        if not Path(path).is_file():
            raise BundleError(f"{path} is not a file")
        with Bundle.open(path) as bundle:
            found.add(bundle.manifest.variant().format)
    return tuple(sorted(found))
