"""An MLServer runtime for one ONNX file; imported by MLServer in its own environment."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, providers=["CPUExecutionProvider"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        feeds = {i.name: NumpyCodec.decode_input(i) for i in payload.inputs}
        names = [o.name for o in self.session.get_outputs()]
        found = self.session.run(names, feeds)
        outputs = [NumpyCodec.encode_output(n, a) for n, a in zip(names, found)]
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=outputs)
