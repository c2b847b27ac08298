"""As much of CUDA's runtime as it takes to bring arrays to a GPU and back, by ctypes.

JetPack brings ``libcudart`` and no Python package for it. Only a board with CUDA can show that this works; none has.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

import numpy as np

from edgekit_runtime.errors import BackendError, MissingRequirement

_NAMES = ("libcudart.so", "libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0")
_TO_DEVICE, _TO_HOST = 1, 2


class Cuda:
    """CUDA's runtime library.

    Raises:
        MissingRequirement: It is not here.
    """

    def __init__(self) -> None:
        for name in _NAMES:
            try:
                self._library: Any = ctypes.CDLL(name)
                break
            except OSError:
                continue
        else:
            raise MissingRequirement(
                "CUDA's runtime (libcudart) is not here", "install JetPack's CUDA, or add its folder to LD_LIBRARY_PATH"
            )
        self._library.cudaGetErrorString.restype = ctypes.c_char_p

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._library, name)(*arguments)
        if code:
            raise BackendError(f"CUDA fails at {name} ({self._library.cudaGetErrorString(code).decode()})")

    def gpu(self) -> str:
        """Name of the GPU in use, ``GPU`` where it has none.

        Raises:
            MissingRequirement: There is no GPU, or no driver that fits.
        """
        properties = ctypes.create_string_buffer(4096)  # the name is the first field, in every version
        try:
            self._call("cudaGetDeviceProperties", properties, 0)
        except BackendError as error:
            raise MissingRequirement(f"no GPU can be used here ({error.message})", "look at its driver") from error
        return properties.value.decode(errors="replace") or "GPU"

    def allocate(self, size: int) -> int:
        """Memory on the GPU; `free` it."""
        pointer = ctypes.c_void_p()
        self._call("cudaMalloc", ctypes.byref(pointer), ctypes.c_size_t(max(1, size)))
        return int(pointer.value or 0)

    def free(self, pointer: int) -> None:
        """Give memory back."""
        self._call("cudaFree", ctypes.c_void_p(pointer))

    def upload(self, pointer: int, array: np.ndarray) -> None:
        """Copy a C-contiguous array to the GPU."""
        source = array.ctypes.data_as(ctypes.c_void_p)
        self._call("cudaMemcpy", ctypes.c_void_p(pointer), source, ctypes.c_size_t(array.nbytes), _TO_DEVICE)

    def download(self, array: np.ndarray, pointer: int) -> None:
        """Copy from the GPU into a C-contiguous array."""
        to = array.ctypes.data_as(ctypes.c_void_p)
        self._call("cudaMemcpy", to, ctypes.c_void_p(pointer), ctypes.c_size_t(array.nbytes), _TO_HOST)

    def wait(self) -> None:
        """Until everything on the GPU is done."""
        self._call("cudaDeviceSynchronize")
