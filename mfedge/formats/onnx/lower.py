"""The trace as an ONNX model: standard operators, NCHW, tokens as an M×D matrix.

Batch is 1, so a token tensor (1, M, D) is written as the matrix (M, D): every Linear is one Gemm. The
attentions never split heads off a pixel map: with block-diagonal masks E_n on the small token side,

    softmax(Q_n X_nᵀ) X_n for all heads n  =  Σ_n E_n ⊙ (softmax((E_n ⊙ Q) X) Xᵀ)

is two plain matrix products on the map as it lies in memory, and no transpose of it.
Whole blocks are fused operators, written by the rule of `mfedge.formats.fused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import onnx_ir as ir
import onnxsim
import torch
from onnx_ir import tape
from torch import Tensor
from torch.export import ExportedProgram

from mfedge.errors import UnsupportedError
from mfedge.formats.fused import RULES as FUSED
from mfedge.formats.fused import has_fused, result_shapes
from mfedge.formats.lowering import Lowering, Rules
from mfedge.formats.onnx import fused
from mfedge.kernels.layout import Kind
from mfedge.precisions import Precision

OPSET = 20  # the first with Gelu
IR_VERSION = 9  # what opset 20 was released with: the oldest runtimes that know the operators can read the file

aten, mfedge = torch.ops.aten, torch.ops.mfedge
RULES = Rules(FUSED)
STORES = ("float32", "float16")  # what weights can be stored as


def write(program: ExportedProgram, path: Path, precision: Precision, outputs: Sequence[str]) -> None:
    """Lower a trace and write `path`.

    Args:
        program: what `mfedge.deploy.trace` returns.
        path: of the .onnx file.
        precision: where weights are stored as float16, a Cast to float32 follows each (but for the native operators'
            matrices).
        outputs: their names.

    Raises:
        UnsupportedError: the trace has an operator without a rule.
    """
    model = OnnxLowering(program).model(outputs)
    if not has_fused(program):  # else there is nothing left to simplify, and onnxsim cannot run it
        model = simplify(model)
    if precision.stored == "float16":
        fused.store_half(model)
        store_half(model, precision.min_elements)
    proto = ir.to_proto(model)
    proto.producer_name, proto.producer_version = "mfedge", ""
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def simplify(model: ir.Model) -> ir.Model:
    """What onnxsim makes of it."""
    simplified, same = onnxsim.simplify(ir.to_proto(model), skip_fuse_bn=True)
    if not same:
        raise UnsupportedError("onnx: onnxsim changed what the network computes; report this with your variant")
    return ir.from_proto(simplified)


class OnnxLowering(Lowering[ir.Value]):
    """Emits one or a few ONNX nodes for each graph node."""

    format: ClassVar[str] = "onnx"
    rules: ClassVar[Rules] = RULES

    def __init__(self, program: ExportedProgram) -> None:
        super().__init__(program)
        self.tape = tape.Tape()
        self.tensors: dict[ir.Value, Tensor] = {}  # parameters not yet written: their rule decides the layout
        self.written: dict[tuple[str, str], ir.Value] = {}
        self.inputs: list[ir.Value] = []
        self.fused = has_fused(program)

    def model(self, outputs: Sequence[str]) -> ir.Model:
        """The whole model, input "images" (1, 3, H, W), outputs of these names."""
        values = self.run()
        for name, value, node in zip(outputs, values, self.program.graph.output_node().args[0], strict=True):
            value.name = name
            value.type = ir.TensorType(ir.DataType.FLOAT)
            value.shape = ir.Shape(fused.sizes(self.program, node.meta["val"].shape))
        graph = ir.Graph(
            self.inputs,
            values,
            nodes=self.tape.nodes,
            initializers=self.tape.initializers,
            opset_imports={"": OPSET, **({fused.DOMAIN: fused.VERSION} if self.fused else {})},
            name="network",
        )
        return ir.Model(graph, ir_version=IR_VERSION)

    def input(self, name: str, shape: tuple[int | None, ...]) -> ir.Value:
        sizes = [("height", "width")[i - 2] if size is None else size for i, size in enumerate(shape)]
        value = ir.Value(name="images", shape=ir.Shape(sizes), type=ir.TensorType(ir.DataType.FLOAT))
        self.inputs.append(value)
        return value

    def constant(self, name: str, value: Tensor) -> ir.Value:
        """Written as the matrix (M, D) if it is (1, M, D), else as it is. Fused operators take tokens as they are."""
        return self.tensor(name, value[0] if value.dim() == 3 and not self.fused else value)

    def custom(self, kind: Kind, inputs: Sequence[ir.Value], config: Sequence[int]) -> list[ir.Value]:
        shapes = [fused.sizes(self.program, shape) for shape in result_shapes(self.node)]
        return fused.append(self.tape, self.scope, kind, inputs, config, shapes)

    # What the rules below are written in.

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Append one node, named after the module it came from; its one output."""
        value = self.tape.op(op_type, inputs, attributes=attributes or None)
        node = value.producer()
        assert node is not None
        node.name = f"{self.scope}/{op_type}_{len(self.tape.nodes)}"
        value.name = f"v{len(self.tape.nodes)}"
        return value

    def tensor(self, name: str, value: Tensor | np.ndarray[Any, Any]) -> ir.Value:
        """An initializer; the same bytes are written once."""
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        array = np.ascontiguousarray(array)
        key = (f"{array.dtype}{array.shape}", array.tobytes().hex() if array.size <= 4096 else name)
        if key not in self.written:
            names = {existing.name for existing in self.tape.initializers}
            unique = name if name not in names else f"{name}_{len(names)}"
            self.written[key] = self.tape.initializer(ir.tensor(array, name=unique), name=unique)
            self.tensors[self.written[key]] = torch.from_numpy(array)
        return self.written[key]

    def reshape(self, x: ir.Value, *shape: int) -> ir.Value:
        return self.op("Reshape", x, self.tensor("shape", np.array(shape, np.int64)))

    def heads_mask(self, heads: int, channels: int) -> ir.Value:
        """(N, 1, C), 1 where channel c belongs to head n."""
        mask = np.repeat(np.eye(heads, dtype=np.float32), channels // heads, axis=1)
        return self.tensor(f"heads_{heads}_{channels}", mask[:, None, :])

    def spread_heads(self, x: ir.Value, heads: int, channels: int) -> ir.Value:
        """(M, C) → (N·M, C): row n·M + m is x[m] with all channels but head n's at zero."""
        return self.reshape(self.op("Mul", x, self.heads_mask(heads, channels)), -1, channels)

    def gather_heads(self, x: ir.Value, heads: int, tokens: int, channels: int) -> ir.Value:
        """(N·M, C) → (M, C): of row n·M + m, head n's channels."""
        masked = self.op("Mul", self.reshape(x, heads, tokens, channels), self.heads_mask(heads, channels))
        return self.op("ReduceSum", masked, self.tensor("axis_0", np.array([0], np.int64)), keepdims=0)

    def shape(self, index: int) -> tuple[Any, ...]:
        """The traced shape of the current node's tensor argument `index`."""
        return tuple(self.node.args[index].meta["val"].shape)  # type: ignore[union-attr]  # are nodes


@RULES(aten.conv2d.default)
def conv2d(
    g: OnnxLowering,
    x: ir.Value,
    weight: ir.Value,
    bias: ir.Value | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> ir.Value:
    return g.op(
        "Conv",
        x,
        weight,
        bias,
        strides=list(stride),
        pads=[*padding, *padding],
        dilations=list(dilation),
        group=groups,
        kernel_shape=list(g.shape(1)[2:]),
    )


@RULES(aten.linear.default)
def linear(g: OnnxLowering, x: ir.Value, weight: ir.Value, bias: ir.Value | None = None) -> ir.Value:
    return g.op("Gemm", x, weight, bias, transB=1)


@RULES(aten.layer_norm.default)
def layer_norm(
    g: OnnxLowering, x: ir.Value, shape: Any, weight: ir.Value, bias: ir.Value, eps: float = 1e-5, _: bool = False
) -> ir.Value:
    return g.op("LayerNormalization", x, weight, bias, axis=-1, epsilon=eps)


@RULES(aten.add.Tensor)
def add(g: OnnxLowering, x: ir.Value, y: ir.Value | float) -> ir.Value:
    return g.op("Add", x, scalar(g, y))


@RULES(aten.mul.Tensor)
def mul(g: OnnxLowering, x: ir.Value, y: ir.Value | float) -> ir.Value:
    return g.op("Mul", x, scalar(g, y))


def scalar(g: OnnxLowering, value: ir.Value | float) -> ir.Value:
    return value if isinstance(value, ir.Value) else g.tensor("scalar", np.array(value, np.float32))


@RULES(aten.relu.default)
def relu(g: OnnxLowering, x: ir.Value) -> ir.Value:
    return g.op("Relu", x)


@RULES(aten.hardtanh.default, aten.clamp.default)
def clip(g: OnnxLowering, x: ir.Value, low: float = -1.0, high: float = 1.0) -> ir.Value:
    return g.op("Clip", x, scalar(g, float(low)), scalar(g, float(high)))


@RULES(aten.hardswish.default)
def hardswish(g: OnnxLowering, x: ir.Value) -> ir.Value:
    return g.op("HardSwish", x)


@RULES(aten.hardsigmoid.default)
def hardsigmoid(g: OnnxLowering, x: ir.Value) -> ir.Value:
    return g.op("HardSigmoid", x, alpha=1 / 6, beta=0.5)


@RULES(aten.gelu.default)
def gelu(g: OnnxLowering, x: ir.Value, approximate: str = "none") -> ir.Value:
    return g.op("Gelu", x, approximate=approximate)


@RULES(aten.mean.dim)
def mean(g: OnnxLowering, x: ir.Value, dim: Any, keepdim: bool = False) -> ir.Value:
    pooled = g.op("GlobalAveragePool", x) if list(dim) == [2, 3] else None
    if pooled is None:
        raise UnsupportedError(f"onnx: mean over dimensions {list(dim)} of {g.scope}; expected the pixels, [2, 3]")
    return pooled if keepdim else g.op("Flatten", pooled)


@RULES(aten.cat.default)
def cat(g: OnnxLowering, tensors: list[ir.Value], dim: int = 0) -> ir.Value:
    return g.op("Concat", *tensors, axis=dim)


@RULES(aten.select.int)
def select(g: OnnxLowering, x: ir.Value, dim: int, index: int) -> ir.Value:
    """tokens[:, 0]: of the (M, D) matrix the first row, as (1, D)."""
    if dim != 1 or len(g.shape(0)) != 3:
        raise UnsupportedError(f"onnx: select along dimension {dim} in {g.scope}; expected a token, tokens[:, i]")
    bounds = [g.tensor("bound", np.array([value], np.int64)) for value in (index, index + 1, 0)]
    return g.op("Slice", x, *bounds)


@RULES(aten.flatten.using_ints)
def flatten(g: OnnxLowering, x: ir.Value, start_dim: int = 0, end_dim: int = -1) -> ir.Value:
    """x.flatten(2): a map as its (C, HW) matrix, for a position-mixing MLP."""
    if (start_dim, end_dim, len(g.shape(0))) != (2, -1, 4):
        raise UnsupportedError(f"onnx: flatten from dimension {start_dim} in {g.scope}; expected a map's pixels")
    return g.reshape(x, g.shape(0)[1], -1)


@RULES(aten.transpose.int)
def transpose(g: OnnxLowering, x: ir.Value, dim0: int, dim1: int) -> ir.Value:
    """(1, C, M) → (1, M, C), of the matrices they are written as."""
    if sorted((dim0 % 3, dim1 % 3)) != [1, 2] or len(g.shape(0)) != 3:
        raise UnsupportedError(f"onnx: transpose of dimensions {dim0} and {dim1} in {g.scope}; expected a token matrix")
    return g.op("Transpose", x, perm=[1, 0])


@RULES(aten.reshape.default, aten.view.default)
def to_map(g: OnnxLowering, x: ir.Value, shape: Any) -> ir.Value:
    """A (C, HW) matrix back to its map (1, C, H, W), of a size that was traced."""
    if len(shape) != 4 or not all(isinstance(size, int) for size in shape):
        raise UnsupportedError(f"onnx: reshape to {list(shape)} in {g.scope}; expected a map of fixed size")
    return g.reshape(x, *shape)


@RULES(aten.split_with_sizes.default)
def split(g: OnnxLowering, x: ir.Value, sizes: list[int], dim: int = 0) -> list[ir.Value]:
    parts = g.tape.op_multi_out(
        "Split", [x, g.tensor("sizes", np.array(sizes, np.int64))], attributes={"axis": -1}, num_outputs=len(sizes)
    )
    for i, part in enumerate(parts):
        part.name = f"v{len(g.tape.nodes)}_{i}"
        part.producer().name = f"{g.scope}/Split_{len(g.tape.nodes)}"  # type: ignore[union-attr]  # of a node
    return list(parts)


@RULES(aten.chunk.default)
def chunk(g: OnnxLowering, x: ir.Value, chunks: int, dim: int = 0) -> list[ir.Value]:
    size = g.shape(0)[dim]
    return split(g, x, [size // chunks] * chunks, dim)


@RULES(mfedge.mobile_to_former.default)
def mobile_to_former(g: OnnxLowering, features: ir.Value, query: ir.Value, heads: int, scale: float) -> ir.Value:
    C, M = g.shape(0)[1], g.shape(1)[1]
    pixels = g.reshape(features, C, -1)  # (C, HW): the map as it lies in memory
    scores = g.op("MatMul", g.spread_heads(scaled(g, query, scale), heads, C), pixels)  # (N·M, HW)
    attended = g.op("Gemm", g.op("Softmax", scores, axis=-1), pixels, transB=1)  # (N·M, C)
    return g.gather_heads(attended, heads, M, C)


@RULES(mfedge.former_to_mobile.default)
def former_to_mobile(
    g: OnnxLowering, features: ir.Value, key: ir.Value, value: ir.Value, heads: int, scale: float
) -> ir.Value:
    C, H, W = g.shape(0)[1:]
    M = g.shape(1)[1]
    pixels = g.reshape(features, C, -1)  # (C, HW)
    scores = g.op("MatMul", g.spread_heads(scaled(g, key, scale), heads, C), pixels)  # (N·M, HW)
    attention = softmax_over_tokens(g, scores, heads, M)
    update = g.op("Gemm", g.spread_heads(value, heads, C), attention, transA=1)  # (C, HW)
    if isinstance(H, int) and isinstance(W, int):
        return g.op("Add", features, g.reshape(update, 1, C, H, W))
    return g.op("Add", features, g.op("Reshape", update, g.op("Shape", features)))


def softmax_over_tokens(g: OnnxLowering, scores: ir.Value, heads: int, tokens: int) -> ir.Value:
    """(N·M, HW), softmax over each head's M rows. Written out: onnxruntime's Softmax would transpose the map twice."""
    scores = g.reshape(scores, heads, tokens, -1)  # (N, M, HW)
    axis = g.tensor("axis_1", np.array([1], np.int64))
    exp = g.op("Exp", g.op("Sub", scores, g.op("ReduceMax", scores, axis, keepdims=1)))
    return g.reshape(g.op("Div", exp, g.op("ReduceSum", exp, axis, keepdims=1)), heads * tokens, -1)


@RULES(mfedge.former_attention.default)
def former_attention(g: OnnxLowering, query: ir.Value, tokens: ir.Value, heads: int, scale: float) -> ir.Value:
    M, D = g.shape(1)[1:]
    scores = g.op("Gemm", g.spread_heads(scaled(g, query, scale), heads, D), tokens, transB=1)  # (N·M, M)
    attended = g.op("MatMul", g.op("Softmax", scores, axis=-1), tokens)  # (N·M, D)
    return g.gather_heads(attended, heads, M, D)


def scaled(g: OnnxLowering, x: ir.Value, scale: float) -> ir.Value:
    return x if scale == 1 else g.op("Mul", x, scalar(g, scale))


@RULES(mfedge.dynamic_relu.default)
def dynamic_relu(g: OnnxLowering, features: ir.Value, slope1: ir.Value, slope2: ir.Value) -> ir.Value:
    if len(g.shape(1)) == 2:
        C = g.shape(1)[1]
        slope1, slope2 = g.reshape(slope1, 1, C, 1, 1), g.reshape(slope2, 1, C, 1, 1)
    return g.op("Max", g.op("Mul", features, slope1), g.op("Mul", features, slope2))


def store_half(model: ir.Model, min_elements: int) -> None:
    """Store every large float32 initializer as float16 with a Cast after it, which runtimes fold as they load it."""
    graph = model.graph
    for name, value in list(graph.initializers.items()):
        array = value.const_value.numpy() if value.const_value is not None else np.zeros(0)
        of_fused = any(node.domain == fused.DOMAIN for node, _ in value.uses())
        if array.dtype != np.float32 or array.size < min_elements or of_fused:
            continue
        half = ir.Value(
            name=f"{name}_half",
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.FLOAT16),
            const_value=ir.tensor(array.astype(np.float16), name=f"{name}_half"),
        )
        del graph.initializers[name]
        graph.initializers[half.name] = half  # type: ignore[index]  # has a name
        cast = ir.node("Cast", [half], attributes={"to": int(ir.DataType.FLOAT)}, name=f"{name}/Cast")
        value.replace_all_uses_with(cast.outputs[0])
        value.name = f"{name}_was"
        cast.outputs[0].name = name
        cast.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        cast.outputs[0].shape = ir.Shape(array.shape)
        graph.insert_before(graph[0], cast)
