"""The messages of `inference.proto`, from its compiled form beside it.

They live in a pool of their own: the names belong to the protocol, so a program that also imports Triton's or KServe's
client would otherwise have two files that define them, which protobuf refuses. A compiled schema also fits any version
of protobuf, where generated Python fits one.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Any

SERVICE = "inference.GRPCInferenceService"
PROTO = Path(__file__).with_name("inference.proto")
COMPILED = Path(__file__).with_name("inference.binpb")


@lru_cache(maxsize=1)
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(COMPILED.read_bytes()).file:
        pool.Add(file)
    return pool


@cache
def message(name: str) -> Any:
    """The class of a message: ``message("ModelInferRequest")``."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"inference.{name}"))


def methods() -> dict[str, tuple[Any, Any]]:
    """Method name to the classes of its request and its response."""
    found = _pool().FindServiceByName(SERVICE).methods
    return {m.name: (message(m.input_type.name), message(m.output_type.name)) for m in found}


def compiled() -> bytes:
    """`PROTO` as protoc compiles it now; needs grpcio-tools."""
    import tempfile

    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / COMPILED.name
        code = protoc.main(["protoc", f"-I{PROTO.parent}", f"--descriptor_set_out={out}", PROTO.name])
        if code:
            raise SystemExit(code)
        return out.read_bytes()


if __name__ == "__main__":
    COMPILED.write_bytes(compiled())
