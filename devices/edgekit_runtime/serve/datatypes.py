"""Words of the Open Inference Protocol: types of tensors, and the version of a model."""

DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
"""Type of a manifest to type of the protocol."""

VERSION = "1"
"""A bundle is one version; which one it is, its digest says."""
