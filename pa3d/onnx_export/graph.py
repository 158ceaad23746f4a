"""A graph of ONNX under construction. Needs onnx, which it imports when the first graph is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pa3d.errors import InputError

if TYPE_CHECKING:
    import onnx

OPSET = 17  # the first with LayerNormalization; tried with onnxruntime 1.15 and 1.32
IR_VERSION = 8


class Graph:
    """Collects nodes and weights; every value is known by its name."""

    def __init__(self, prefix: str = "") -> None:
        self.onnx = _import_onnx()
        self._prefix = prefix
        self._nodes: list[Any] = []
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._weights: dict[str, Any] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._subgraphs = 0

    def type(self, dtype: Any) -> int:
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node; returns the name of its output, or a list of names."""
        stem = f"{self._prefix}{op}_{len(self._nodes)}"
        names = [stem] if outputs == 1 else [f"{stem}_{i}" for i in range(outputs)]
        self._nodes.append(self.onnx.helper.make_node(op, list(inputs), names, name=stem, **attributes))
        return names[0] if outputs == 1 else names

    def input(self, name: str, dtype: Any, *shape: int | str, default: NDArray[Any] | None = None) -> str:
        """An input; one with a default may be left out by the caller."""
        self._inputs.append(self.onnx.helper.make_tensor_value_info(name, self.type(dtype), shape))
        if default is not None:
            self._weights[name] = self.onnx.numpy_helper.from_array(default, name)
        return name

    def output(self, name: str, value: str, dtype: Any, *shape: int | str) -> None:
        self._nodes.append(self.onnx.helper.make_node("Identity", [value], [name], name=f"{self._prefix}{name}"))
        self._outputs.append(self.onnx.helper.make_tensor_value_info(name, self.type(dtype), shape))

    def weight(self, name: str, value: NDArray[Any]) -> str:
        """A float32 weight. A matrix that float16 holds without loss is stored so; a runtime casts it once, at load."""
        array = np.ascontiguousarray(value, np.float32)
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if array.ndim > 1 and np.array_equal(half.astype(np.float32), array):
            return str(self.add("Cast", self.stored(name, half), to=self.type(np.float32)))
        return self.stored(name, array)

    def stored(self, name: str, array: NDArray[Any]) -> str:
        """An array of the file, as it is."""
        self._weights[name] = self.onnx.numpy_helper.from_array(array, name)
        return name

    def const(self, value: Any) -> str:
        """A small constant of the dtype of `value`; equal ones are one."""
        array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = f"{self._prefix}const_{len(self._constants)}"
            self._weights[name] = self.onnx.numpy_helper.from_array(array, name)
        return self._constants[key]

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, np.int64))

    def subgraph(self) -> Graph:
        """The body of a loop. It may use values of this graph."""
        self._subgraphs += 1
        return Graph(f"{self._prefix}body_{self._subgraphs}_")

    def graph(self, name: str) -> Any:
        weights = list(self._weights.values())
        return self.onnx.helper.make_graph(self._nodes, name, self._inputs, self._outputs, weights)

    def model(self, metadata: dict[str, str]) -> onnx.ModelProto:
        from pa3d import __version__

        opset = self.onnx.helper.make_opsetid("", OPSET)
        model = self.onnx.helper.make_model(
            self.graph("pa3d"), opset_imports=[opset], ir_version=IR_VERSION, producer_name="pa3d",
            producer_version=__version__,
        )  # fmt: skip
        self.onnx.helper.set_model_props(model, metadata)
        return model


def _import_onnx() -> Any:
    try:
        import onnx
        import onnx.helper
        import onnx.numpy_helper
    except ImportError as error:
        raise InputError("exporting needs onnx; install it with pip install 'pa3d[onnx]'") from error
    return onnx
