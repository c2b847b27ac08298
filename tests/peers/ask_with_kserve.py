"""Asks a server with KServe's own clients, in their own environment: a JSON question in, what they said out."""

import asyncio
import json
import logging
import sys

import httpx
import numpy as np
from grpc import RpcError
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest
from kserve.inference_client import RESTConfig
from kserve.protocol.infer_type import RequestedOutput

logging.disable(logging.CRITICAL)  # the client logs a traceback for each refusal


async def main() -> None:
    asked = json.load(sys.stdin)
    array, model = np.array(asked["array"], np.float32), asked["model"]
    headers, metadata = {"Authorization": asked["token"]}, (("authorization", asked["token"]),)
    said: dict = {"rest": {}, "grpc": {}}

    def request(name: str, binary: bool, outputs: object = None) -> InferRequest:
        given = InferInput(name, list(array.shape), "FP32")
        given.set_data_from_numpy(array, binary_data=binary)
        return InferRequest(model, [given], request_id="7", request_outputs=outputs)

    rest = InferenceRESTClient(RESTConfig(protocol="v2", timeout=60))
    said["live"] = await rest.is_server_live(asked["rest"])
    said["ready"] = await rest.is_server_ready(asked["rest"])
    said["model ready"] = await rest.is_model_ready(asked["rest"], model, headers=headers)
    for kind, binary, outputs in (
        ("JSON", False, None),
        ("binary", True, None),
        ("binary both ways", True, [RequestedOutput("scores", {"binary_data": True})]),
    ):
        answer = await rest.infer(asked["rest"], request("image", binary, outputs), model, headers=dict(headers))
        said["rest"][kind] = {"id": answer.id, "scores": answer.outputs[0].as_numpy().tolist()}
    v1 = InferenceRESTClient(RESTConfig(protocol="v1", timeout=60))
    answer = await v1.infer(asked["rest"], {"instances": array.tolist()}, model, headers=dict(headers))
    said["rest"]["v1"] = {"id": "7", "scores": answer["predictions"]}
    for wrong, made in (("input", request("picture", True)), ("token", request("image", True))):
        try:
            given = {} if wrong == "token" else dict(headers)
            await rest.infer(asked["rest"], made, model, headers=given)
        except httpx.HTTPStatusError as error:
            said["rest"][f"wrong {wrong}"] = [error.response.status_code, str(error)]

    grpc = InferenceGRPCClient(asked["grpc"], timeout=60)
    said["grpc live"] = await grpc.is_server_live() and await grpc.is_server_ready()
    said["grpc model ready"] = await grpc.is_model_ready(model, headers=metadata)
    for kind, binary in (("typed", False), ("raw", True)):
        answer = await grpc.infer(request("image", binary), headers=metadata)
        said["grpc"][kind] = {"id": answer.id, "scores": answer.outputs[0].as_numpy().tolist()}
    try:
        await grpc.infer(request("picture", True), headers=metadata)
    except RpcError as error:
        said["grpc"]["wrong input"] = [error.code().name, error.details()]
    await grpc.close()
    await rest.close()
    print(json.dumps(said))


asyncio.run(main())
