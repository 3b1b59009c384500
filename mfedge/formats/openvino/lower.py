"""The trace as OpenVINO IR: opset operators, NCHW, tokens as an M×D matrix, float32 kept as float32.

Batch is 1, so a token tensor (1, M, D) is written as the matrix (M, D). OpenVINO's MatMul transposes
either side as it reads, so heads are a leading axis of the map, (N, C/N, HW), which is a view of it.
Whole blocks are fused operators, written by the rule of `mfedge.formats.fused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import openvino as ov
import torch
from openvino import opset13 as ops
from torch import Tensor
from torch.export import ExportedProgram

from mfedge.errors import StorageError, UnsupportedError
from mfedge.formats.fused import RULES as FUSED
from mfedge.formats.fused import has_fused
from mfedge.formats.lowering import Lowering, Rules
from mfedge.formats.openvino import fused
from mfedge.kernels.layout import Kind
from mfedge.precisions import Precision

aten, mfedge = torch.ops.aten, torch.ops.mfedge
RULES = Rules(FUSED)
Value = Any  # openvino.Node or openvino.Output: its factory functions are untyped
STORES = ("float32", "float16")  # what weights can be stored as


def write(program: ExportedProgram, path: Path, precision: Precision, outputs: Sequence[str]) -> None:
    """Lower a trace and write `path` (.xml) and the weights beside it (.bin).

    Args:
        program: what `mfedge.deploy.trace` returns.
        path: of the .xml file.
        precision: where weights are stored as float16, a Convert to float32 follows each (but for the native operators'
            matrices; their vectors are never half).
        outputs: their names.

    Raises:
        UnsupportedError: the trace has an operator without a rule.
        MissingRuntimeError: it has native operators, whose library is not built, or for another OpenVINO.
    """
    native, half = has_fused(program), precision.stored == "float16"
    model = OpenvinoLowering(program).model(outputs)
    if native and half:
        fused.store_half(model)
    try:
        ov.save_model(model, path, compress_to_fp16=half and not native)
    except RuntimeError as error:  # all that is left of the operating system's reason is "iostream error"
        raise StorageError(f"{path.name}: OpenVINO could not write it ({error}); is the disk full?") from None


class OpenvinoLowering(Lowering[Value]):
    """Emits one or a few OpenVINO operations for each graph node."""

    format: ClassVar[str] = "openvino"
    rules: ClassVar[Rules] = RULES

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program)
        self.inputs: list[Value] = []
        self.names: set[str] = set()
        self.fused = has_fused(program)

    def model(self, outputs: Sequence[str]) -> ov.Model:
        """The whole model, input "images" (1, 3, H, W), outputs of these names."""
        results = [ops.result(value, name=name) for name, value in zip(outputs, self.run(), strict=True)]
        for name, result in zip(outputs, results, strict=True):
            result.output(0).get_tensor().set_names({name})
        model = ov.Model(results, self.inputs, "network")
        model.validate_nodes_and_infer_types()
        return model

    def input(self, name: str, shape: tuple[int | None, ...]) -> Value:
        sizes = [ov.Dimension() if size is None else ov.Dimension(size) for size in shape]
        images = ops.parameter(ov.PartialShape(sizes), np.float32, name="images")
        images.output(0).get_tensor().set_names({"images"})
        self.inputs.append(images)
        return images

    def constant(self, name: str, value: Tensor) -> Value:
        """Written as the matrix (M, D) if it is (1, M, D), else as it is. Fused operators take tokens as they are."""
        matrix = value.dim() == 3 and not self.fused
        return ops.constant((value[0] if matrix else value).numpy(), name=self.unique(name))

    def custom(self, kind: Kind, inputs: Sequence[Value], config: Sequence[int]) -> list[Value]:
        node = fused.create(kind, inputs, config)
        node.set_friendly_name(self.name(kind.row.name))
        return list(node.outputs())

    # What the rules below are written in.

    def unique(self, name: str) -> str:
        """`name`, numbered if it is taken: names have to be the same in every run."""
        found, i = name, 1
        while found in self.names:
            found, i = f"{name}_{i}", i + 1
        self.names.add(found)
        return found

    def name(self, operation: str) -> str:
        """A node's name: the module it came from and the operation."""
        return self.unique(f"{self.scope}/{operation}")

    def ints(self, *values: int) -> Value:
        return ops.constant(np.array(values, np.int64), name=self.unique("ints"))

    def scalar(self, value: Any) -> Value:
        return ops.constant(np.float32(value), name=self.unique("scalar")) if isinstance(value, (int, float)) else value

    def reshape(self, x: Value, *shape: int) -> Value:
        return ops.reshape(x, self.ints(*shape), special_zero=False, name=self.name("Reshape"))

    def matmul(self, x: Value, y: Value, transpose_x: bool = False, transpose_y: bool = False) -> Value:
        return ops.matmul(x, y, transpose_x, transpose_y, name=self.name("MatMul"))

    def add(self, x: Value, y: Value) -> Value:
        return ops.add(x, y, name=self.name("Add"))

    def multiply(self, x: Value, y: Value) -> Value:
        return ops.multiply(x, y, name=self.name("Multiply"))

    def softmax(self, x: Value, axis: int) -> Value:
        return ops.softmax(x, axis, name=self.name("Softmax"))

    def split_heads(self, x: Value, heads: int, tokens: int, channels: int) -> Value:
        """(M, C) → (N, M, C/N)."""
        split = self.reshape(x, tokens, heads, channels // heads)
        return ops.transpose(split, self.ints(1, 0, 2), name=self.name("Transpose"))

    def join_heads(self, x: Value, tokens: int, channels: int) -> Value:
        """(N, M, C/N) → (M, C)."""
        return self.reshape(ops.transpose(x, self.ints(1, 0, 2), name=self.name("Transpose")), tokens, channels)

    def shape(self, index: int) -> tuple[Any, ...]:
        """The traced shape of the current node's tensor argument `index`."""
        return tuple(self.node.args[index].meta["val"].shape)  # type: ignore[union-attr]  # are nodes


@RULES(aten.conv2d.default)
def conv2d(
    g: OpenvinoLowering,
    x: Value,
    weight: Value,
    bias: Value = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> Value:
    window = [list(stride), list(padding), list(padding), list(dilation)]
    if groups == 1:
        y = ops.convolution(x, weight, *window, name=g.name("Convolution"))
    else:
        O, I, kh, kw = g.shape(1)
        weight = g.reshape(weight, groups, O // groups, I, kh, kw)
        y = ops.group_convolution(x, weight, *window, name=g.name("GroupConvolution"))
    return y if bias is None else g.add(y, g.reshape(bias, 1, -1, 1, 1))


@RULES(aten.linear.default)
def linear(g: OpenvinoLowering, x: Value, weight: Value, bias: Value = None) -> Value:
    y = g.matmul(x, weight, transpose_y=True)
    return y if bias is None else g.add(y, bias)


@RULES(aten.layer_norm.default)
def layer_norm(
    g: OpenvinoLowering, x: Value, shape: Any, weight: Value, bias: Value, eps: float = 1e-5, _: bool = False
) -> Value:
    normalised = ops.mvn(x, g.ints(-1), True, eps, "inside_sqrt", name=g.name("MVN"))
    return g.add(g.multiply(normalised, weight), bias)


@RULES(aten.add.Tensor)
def add(g: OpenvinoLowering, x: Value, y: Any) -> Value:
    return g.add(x, g.scalar(y))


@RULES(aten.mul.Tensor)
def mul(g: OpenvinoLowering, x: Value, y: Any) -> Value:
    return g.multiply(x, g.scalar(y))


@RULES(aten.relu.default)
def relu(g: OpenvinoLowering, x: Value) -> Value:
    return ops.relu(x, name=g.name("Relu"))


@RULES(aten.hardtanh.default, aten.clamp.default)
def clip(g: OpenvinoLowering, x: Value, low: float = -1.0, high: float = 1.0) -> Value:
    return ops.clamp(x, float(low), float(high), name=g.name("Clamp"))


@RULES(aten.hardswish.default)
def hardswish(g: OpenvinoLowering, x: Value) -> Value:
    return ops.hswish(x, name=g.name("HSwish"))


@RULES(aten.hardsigmoid.default)
def hardsigmoid(g: OpenvinoLowering, x: Value) -> Value:
    return ops.hsigmoid(x, name=g.name("HSigmoid"))


@RULES(aten.gelu.default)
def gelu(g: OpenvinoLowering, x: Value, approximate: str = "none") -> Value:
    return ops.gelu(x, {"none": "erf", "tanh": "tanh"}[approximate], name=g.name("Gelu"))


@RULES(aten.mean.dim)
def mean(g: OpenvinoLowering, x: Value, dim: Any, keepdim: bool = False) -> Value:
    return ops.reduce_mean(x, g.ints(*dim), keepdim, name=g.name("ReduceMean"))


@RULES(aten.cat.default)
def cat(g: OpenvinoLowering, tensors: list[Value], dim: int = 0) -> Value:
    return ops.concat(tensors, dim, name=g.name("Concat"))


@RULES(aten.select.int)
def select(g: OpenvinoLowering, x: Value, dim: int, index: int) -> Value:
    """tokens[:, 0]: of the (M, D) matrix the first row, as (1, D)."""
    if dim != 1 or len(g.shape(0)) != 3:
        raise UnsupportedError(f"openvino: select along dimension {dim} in {g.scope}; expected a token, tokens[:, i]")
    return ops.slice(x, g.ints(index), g.ints(index + 1), g.ints(1), g.ints(0), name=g.name("Slice"))


@RULES(aten.flatten.using_ints)
def flatten(g: OpenvinoLowering, x: Value, start_dim: int = 0, end_dim: int = -1) -> Value:
    """x.flatten(2): a map as its (C, HW) matrix, for a position-mixing MLP."""
    if (start_dim, end_dim, len(g.shape(0))) != (2, -1, 4):
        raise UnsupportedError(f"openvino: flatten from dimension {start_dim} in {g.scope}; expected a map's pixels")
    return g.reshape(x, g.shape(0)[1], -1)


@RULES(aten.transpose.int)
def transpose(g: OpenvinoLowering, x: Value, dim0: int, dim1: int) -> Value:
    """(1, C, M) → (1, M, C), of the matrices they are written as."""
    if sorted((dim0 % 3, dim1 % 3)) != [1, 2] or len(g.shape(0)) != 3:
        raise UnsupportedError(f"openvino: transpose of {dim0} and {dim1} in {g.scope}; expected a token matrix")
    return ops.transpose(x, g.ints(1, 0), name=g.name("Transpose"))


@RULES(aten.reshape.default, aten.view.default)
def to_map(g: OpenvinoLowering, x: Value, shape: Any) -> Value:
    """A (C, HW) matrix back to its map (1, C, H, W), of a size that was traced."""
    if len(shape) != 4 or not all(isinstance(size, int) for size in shape):
        raise UnsupportedError(f"openvino: reshape to {list(shape)} in {g.scope}; expected a map of fixed size")
    return g.reshape(x, *shape)


@RULES(aten.split_with_sizes.default)
def split(g: OpenvinoLowering, x: Value, sizes: list[int], dim: int = 0) -> list[Value]:
    node = ops.variadic_split(x, g.ints(-1), g.ints(*sizes), name=g.name("VariadicSplit"))
    return [node.output(i) for i in range(len(sizes))]


@RULES(aten.chunk.default)
def chunk(g: OpenvinoLowering, x: Value, chunks: int, dim: int = 0) -> list[Value]:
    size = g.shape(0)[dim]
    return split(g, x, [size // chunks] * chunks, dim)


@RULES(mfedge.mobile_to_former.default)
def mobile_to_former(g: OpenvinoLowering, features: Value, query: Value, heads: int, scale: float) -> Value:
    C, M = g.shape(0)[1], g.shape(1)[1]
    pixels = g.reshape(features, heads, C // heads, -1)  # (N, C/N, HW): a view of the map
    scores = g.matmul(g.split_heads(scaled(g, query, scale), heads, M, C), pixels)  # (N, M, HW)
    return g.join_heads(g.matmul(g.softmax(scores, 2), pixels, transpose_y=True), M, C)


@RULES(mfedge.former_to_mobile.default)
def former_to_mobile(g: OpenvinoLowering, features: Value, key: Value, value: Value, heads: int, scale: float) -> Value:
    C, H, W = g.shape(0)[1:]
    M = g.shape(1)[1]
    pixels = g.reshape(features, heads, C // heads, -1)  # (N, C/N, HW)
    scores = g.matmul(g.split_heads(scaled(g, key, scale), heads, M, C), pixels)  # (N, M, HW)
    attention = g.softmax(scores, 1)
    update = g.matmul(g.split_heads(value, heads, M, C), attention, transpose_x=True)  # (N, C/N, HW)
    if isinstance(H, int) and isinstance(W, int):
        return g.add(features, g.reshape(update, 1, C, H, W))
    shape = ops.shape_of(features, output_type="i64", name=g.name("ShapeOf"))
    return g.add(features, ops.reshape(update, shape, special_zero=False, name=g.name("Reshape")))


@RULES(mfedge.former_attention.default)
def former_attention(g: OpenvinoLowering, query: Value, tokens: Value, heads: int, scale: float) -> Value:
    M, D = g.shape(1)[1:]
    value = g.split_heads(tokens, heads, M, D)  # (N, M, D/N)
    scores = g.matmul(g.split_heads(scaled(g, query, scale), heads, M, D), value, transpose_y=True)  # (N, M, M)
    return g.join_heads(g.matmul(g.softmax(scores, 2), value), M, D)


def scaled(g: OpenvinoLowering, x: Value, scale: float) -> Value:
    return x if scale == 1 else g.multiply(x, g.scalar(scale))


@RULES(mfedge.dynamic_relu.default)
def dynamic_relu(g: OpenvinoLowering, features: Value, slope1: Value, slope2: Value) -> Value:
    if len(g.shape(1)) == 2:
        slope1, slope2 = g.reshape(slope1, 1, -1, 1, 1), g.reshape(slope2, 1, -1, 1, 1)
    return ops.maximum(g.multiply(features, slope1), g.multiply(features, slope2), name=g.name("Maximum"))
