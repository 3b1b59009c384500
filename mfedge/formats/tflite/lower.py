"""The rules from graph nodes to TFLite operators.

Layouts: a map (1, C, H, W) is stored as (1, H, W, C), a token tensor (1, M, D) as the matrix (M, D), anything
smaller as it is. No rule transposes a map. The attentions keep a map whole, with block-diagonal masks E_n
on the small token side (see `mfedge.formats.onnx.lower`). What XNNPACK does not take is avoided, so that it
takes the whole graph as one partition. Whole blocks are fused
operators, written by the rule of `mfedge.formats.fused`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema
from torch import Tensor as TorchTensor
from torch.export import ExportedProgram

from mfedge.errors import UnsupportedError
from mfedge.formats.fused import RULES as FUSED_RULES
from mfedge.formats.fused import has_fused, result_shapes
from mfedge.formats.lowering import Lowering, Rules
from mfedge.formats.tflite import fused
from mfedge.formats.tflite.unroll import plan_unrolling
from mfedge.formats.tflite.writer import Shape, Tensor, Writer
from mfedge.kernels.layout import Kind
from mfedge.precisions import Precision

aten, mfedge = torch.ops.aten, torch.ops.mfedge
RULES = Rules(FUSED_RULES)
Activation = schema.ActivationFunctionType
CONCAT_MAX = 4  # XNNPACK leaves a CONCATENATION of more than five inputs to TFLite
FUSED = {(0.0, 6.0): "RELU6", (-1.0, 1.0): "RELU_N1_TO_1"}
STORES = ("float32", "float16")  # what weights can be stored as


def write(program: ExportedProgram, path: Path, precision: Precision, outputs: Sequence[str]) -> None:
    """Lower a trace and write `path`: NHWC, one XNNPACK partition, any input size by resize.

    Args:
        program: what `mfedge.deploy.trace` returns.
        path: of the .tflite file.
        precision: where weights are stored as float16, a DEQUANTIZE to float32 follows each.
        outputs: their names.

    Raises:
        UnsupportedError: the trace has an operator without a rule.
    """
    path.write_bytes(TfliteLowering(program, precision).model(outputs))


class TfliteLowering(Lowering[Tensor]):
    """Emits one or a few TFLite operators for each graph node."""

    format: ClassVar[str] = "tflite"
    rules: ClassVar[Rules] = RULES

    def __init__(self, program: ExportedProgram, precision: Precision) -> None:
        super().__init__(program)
        self.writer = Writer(precision)
        self.unrolling = plan_unrolling(program)
        self.images: Tensor | None = None
        self.fused = has_fused(program)

    def model(self, outputs: Sequence[str]) -> bytes:
        """The whole file, input "images" (1, H, W, 3), outputs of these names."""
        values = self.run()
        assert self.images is not None
        return self.writer.finish({"images": self.images}, dict(zip(outputs, values, strict=True)))

    def input(self, name: str, shape: tuple[int | None, ...]) -> Tensor:
        _, C, H, W = shape
        example = stored_shape(sizes(self.node))
        self.images = self.writer.tensor("images", example, [1, -1 if H is None else H, -1 if W is None else W, C or 3])
        return self.images

    def constant(self, name: str, value: TorchTensor) -> Any:
        """Kept as an array until its rule knows the layout; a portable graph's token matrix is written at once."""
        if name in self.unrolling.permuted:
            value = value.index_select(*self.unrolling.permuted[name])
        array = value.numpy()
        if value.dim() == 3 and not self.fused:
            return self.writer.constant(name, array[0])
        return Parameter(name, array)

    def custom(self, kind: Kind, inputs: Sequence[Any], config: Sequence[int]) -> list[Tensor]:
        first_matrix = len(kind.row.inputs) + 1
        tensors = [self.as_kernels_read(value, i >= first_matrix) for i, value in enumerate(inputs)]
        shapes = [concrete(shape) for shape in result_shapes(self.node)]
        return fused.append(self.writer, self.scope, kind, tensors, config, shapes)

    def as_kernels_read(self, value: Any, matrices: bool) -> Tensor:
        """An input of a fused operator: NCHW; a constant as it is, or matrices as half if the file is to be."""
        if isinstance(value, Parameter):
            half = matrices and self.writer.half
            return self.writer.raw(value.name, value.array.astype(np.float16) if half else value.array)
        assert isinstance(value, Tensor)
        if value is not self.images:
            return value
        B, H, W, C = value.shape
        return self.op("TRANSPOSE", value, self.ints(0, 3, 1, 2), shape=(B, C, H, W), options=("TransposeOptions", {}))

    # What the rules below are written in.

    def op(self, kind: str, *inputs: Tensor, shape: Shape, options: Any = None, outputs: int = 1) -> Tensor:
        return self.writer.op(kind, inputs, shape, f"{self.scope}/{kind}", options, outputs=outputs)

    def floats(self, name: str, value: Any) -> Tensor:
        return self.writer.constant(name, np.asarray(value, np.float32))

    def ints(self, *values: int) -> Tensor:
        return self.writer.constant("ints", np.array(values, np.int32))

    def binary(self, kind: str, x: Tensor, y: Any, act: int = Activation.NONE) -> Tensor:
        """ADD, SUB, MUL or MAXIMUM of two tensors or a tensor and a number, broadcast."""
        if isinstance(y, int | float):
            y = self.floats("scalar", y)
        if isinstance(y, Parameter):
            y = self.floats(y.name, y.array)
        options = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}.get(kind)
        shape = np.broadcast_shapes(x.shape, y.shape)
        fused = {"fusedActivationFunction": act}
        return self.op(kind, x, y, shape=shape, options=(options, fused) if options else ("MaximumMinimumOptions", {}))

    def reshape(self, x: Tensor, *shape: int) -> Tensor:
        """`shape` may have one -1; it stays in the file where the input's size is dynamic."""
        known = int(np.prod([size for size in shape if size != -1]))
        result = tuple(int(np.prod(x.shape)) // known if size == -1 else size for size in shape)
        target = shape if self.dynamic else result
        return self.op(
            "RESHAPE", x, self.ints(*target), shape=result, options=("ReshapeOptions", {"newShape": list(target)})
        )

    @property
    def dynamic(self) -> bool:
        return any(not isinstance(size, int) for size in self.node.meta["val"].shape) or any(
            not isinstance(size, int) for node in self.node.all_input_nodes for size in node.meta["val"].shape
        )

    def matmul(self, x: Tensor, y: Tensor, transpose_y: bool = False) -> Tensor:
        columns = y.shape[-2] if transpose_y else y.shape[-1]
        return self.op(
            "BATCH_MATMUL", x, y, shape=(*x.shape[:-1], columns), options=("BatchMatMulOptions", {"adjY": transpose_y})
        )

    def softmax(self, x: Tensor) -> Tensor:
        return self.op("SOFTMAX", x, shape=x.shape, options=("SoftmaxOptions", {"beta": 1.0}))

    def reduce(self, kind: str, x: Tensor, axes: tuple[int, ...], keep: bool) -> Tensor:
        """MEAN or SUM over axes as they are stored."""
        shape = tuple(1 if i in axes else size for i, size in enumerate(x.shape) if keep or i not in axes)
        return self.op(kind, x, self.ints(*axes), shape=shape, options=("ReducerOptions", {"keepDims": keep}))

    def heads_mask(self, heads: int, channels: int) -> Tensor:
        """(N, 1, C), 1 where channel c belongs to head n."""
        mask = np.repeat(np.eye(heads, dtype=np.float32), channels // heads, axis=1)
        return self.floats(f"heads_{heads}_{channels}", mask[:, None, :])

    def spread_heads(self, x: Tensor, heads: int) -> Tensor:
        """(M, C) → (N·M, C): row n·M + m is x[m] with all channels but head n's at zero."""
        M, C = x.shape
        spread = self.binary("MUL", self.op_reshape_static(x, 1, M, C), self.heads_mask(heads, C))
        return self.op_reshape_static(spread, heads * M, C)

    def gather_heads(self, x: Tensor, heads: int) -> Tensor:
        """(N·M, C) → (M, C): of row n·M + m, head n's channels."""
        rows, C = x.shape
        masked = self.binary("MUL", self.op_reshape_static(x, heads, rows // heads, C), self.heads_mask(heads, C))
        return self.reduce("SUM", masked, (0,), keep=False)

    def op_reshape_static(self, x: Tensor, *shape: int) -> Tensor:
        """A reshape on the token side, where every size is known."""
        return self.op(
            "RESHAPE", x, self.ints(*shape), shape=shape, options=("ReshapeOptions", {"newShape": list(shape)})
        )

    def activate(self, x: Tensor, activation: str) -> Tensor:
        """Fuse an activation into the operator just written, if that made `x` and nobody else reads it."""
        (source,) = self.node.all_input_nodes
        last = self.writer.operators[-1]
        fusible = (
            last.outputs == [x.index]
            and len(source.users) == 1
            and hasattr(last.builtinOptions, "fusedActivationFunction")
            and last.builtinOptions.fusedActivationFunction == Activation.NONE
        )
        if fusible:
            last.builtinOptions.fusedActivationFunction = getattr(Activation, activation)
            return x
        return self.op(activation, x, shape=x.shape)

    def rank(self, index: int) -> int:
        return len(self.node.args[index].meta["val"].shape)  # type: ignore[union-attr]  # are nodes


class Parameter:
    """A parameter whose rule has not yet said how it is laid out."""

    def __init__(self, name: str, array: np.ndarray[Any, Any]) -> None:
        self.name = name
        self.array = array


def sizes(node: Any) -> Shape:
    """The shape of a node's value, with the traced example's size where it is dynamic."""
    return concrete(node.meta["val"].shape)


def concrete(shape: Sequence[Any]) -> Shape:
    """A traced shape, with the traced example's size where it is dynamic."""
    return tuple(size if isinstance(size, int) else int(size.node.hint) for size in shape)


def stored_shape(shape: Shape) -> Shape:
    """NCHW → NHWC of a map."""
    B, C, H, W = shape
    return B, H, W, C


@RULES(aten.conv2d.default)
def conv2d(
    g: TfliteLowering,
    x: Tensor,
    weight: Parameter,
    bias: Parameter | None = None,
    stride: Any = (1, 1),
    padding: Any = (0, 0),
    dilation: Any = (1, 1),
    groups: int = 1,
) -> Tensor:
    O, I, kh, kw = weight.array.shape
    multiplier = O // groups
    depthwise = groups == x.shape[3] and I == 1 and groups > 1
    if depthwise and g.node.name in g.unrolling.convolutions:
        x, multiplier = cat(g, [x] * multiplier, 1), 1
    same = list(padding) == [kh // 2, kw // 2]
    if (groups > 1 and not depthwise) or list(dilation) != [1, 1] or not (same or not any(padding)):
        raise UnsupportedError(
            f"tflite: {g.scope}: a convolution of {groups} groups, padding {list(padding)}, dilation {list(dilation)}; "
            f"expected dense or depthwise, half or no padding, no dilation"
        )
    sh, sw = stride
    if any(padding) and (sh, sw) != (1, 1):
        # SAME at stride 2 pads an even size on one side only, PyTorch on both.
        ph, pw = padding
        around = g.writer.constant("pads", np.array([[0, 0], [ph, ph], [pw, pw], [0, 0]], np.int32))
        B, H, W, C = x.shape
        x = g.op("PAD", x, around, shape=(B, H + 2 * ph, W + 2 * pw, C), options=("PadOptions", {}))
        same = False
    B, H, W, _ = x.shape
    out = (H, W) if same else ((H - kh) // sh + 1, (W - kw) // sw + 1)
    laid_out = weight.array.transpose(1, 2, 3, 0) if depthwise else weight.array.transpose(0, 2, 3, 1)
    bias_array = np.zeros(O, np.float32) if bias is None else bias.array
    options = {
        "padding": schema.Padding.SAME if same else schema.Padding.VALID,
        "strideH": sh,
        "strideW": sw,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        **({"depthMultiplier": multiplier} if depthwise else {}),
    }
    return g.op(
        "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D",
        x,
        g.floats(weight.name, laid_out),
        g.floats(f"{weight.name}_bias", bias_array),
        shape=(B, *out, O),
        options=("DepthwiseConv2DOptions" if depthwise else "Conv2DOptions", options),
    )


@RULES(aten.linear.default)
def linear(g: TfliteLowering, x: Tensor, weight: Parameter, bias: Parameter | None = None) -> Tensor:
    O = weight.array.shape[0]
    bias_array = np.zeros(O, np.float32) if bias is None else bias.array
    inputs = (x, g.floats(weight.name, weight.array), g.floats(f"{weight.name}_bias", bias_array))
    return g.op("FULLY_CONNECTED", *inputs, shape=(x.shape[0], O), options=("FullyConnectedOptions", {}))


@RULES(aten.layer_norm.default)
def layer_norm(
    g: TfliteLowering, x: Tensor, shape: Any, weight: Parameter, bias: Parameter, eps: float = 1e-5, _: bool = False
) -> Tensor:
    last = (len(x.shape) - 1,)
    centred = g.binary("SUB", x, g.reduce("MEAN", x, last, keep=True))
    variance = g.reduce("MEAN", g.binary("MUL", centred, centred), last, keep=True)
    shifted = g.binary("ADD", variance, eps)
    inverse = g.op("RSQRT", shifted, shape=shifted.shape)
    return g.binary("ADD", g.binary("MUL", g.binary("MUL", centred, inverse), weight), bias)


@RULES(aten.add.Tensor)
def add(g: TfliteLowering, x: Tensor, y: Any) -> Tensor:
    return g.binary("ADD", x, y)


@RULES(aten.mul.Tensor)
def mul(g: TfliteLowering, x: Tensor, y: Any) -> Tensor:
    return g.binary("MUL", x, y)


@RULES(aten.relu.default)
def relu(g: TfliteLowering, x: Tensor) -> Tensor:
    return g.activate(x, "RELU")


@RULES(aten.hardtanh.default)
def hardtanh(g: TfliteLowering, x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    if (low, high) in FUSED:
        return g.activate(x, FUSED[low, high])
    # clip(x, c - r, c + r) = r · clip((x - c)/r, -1, 1) + c; the gate has r = 1
    centre, radius = (low + high) / 2, (high - low) / 2
    scaled = x if radius == 1 else g.binary("MUL", x, 1 / radius)
    clipped = g.binary("ADD", scaled, -centre / radius, Activation.RELU_N1_TO_1)
    return g.binary("ADD", clipped if radius == 1 else g.binary("MUL", clipped, radius), centre)


@RULES(aten.hardswish.default)
def hardswish(g: TfliteLowering, x: Tensor) -> Tensor:
    return g.op("HARD_SWISH", x, shape=x.shape, options=("HardSwishOptions", {}))


@RULES(aten.hardsigmoid.default)
def hardsigmoid(g: TfliteLowering, x: Tensor) -> Tensor:
    return g.binary("MUL", g.binary("ADD", x, 3.0, Activation.RELU6), 1 / 6)


@RULES(aten.gelu.default)
def gelu(g: TfliteLowering, x: Tensor, approximate: str = "none") -> Tensor:
    return g.op("GELU", x, shape=x.shape, options=("GeluOptions", {"approximate": approximate == "tanh"}))


@RULES(aten.mean.dim)
def mean(g: TfliteLowering, x: Tensor, dim: Any, keepdim: bool = False) -> Tensor:
    if list(dim) != [2, 3]:
        raise UnsupportedError(f"tflite: mean over dimensions {list(dim)} of {g.scope}; expected the pixels, [2, 3]")
    return g.reduce("MEAN", x, (1, 2), keepdim)


@RULES(aten.cat.default)
def cat(g: TfliteLowering, tensors: list[Tensor], dim: int = 0) -> Tensor:
    if dim != 1:
        raise UnsupportedError(f"tflite: concatenation along dimension {dim} in {g.scope}; expected the channels, 1")
    while len(tensors) > 1:
        tensors = [concat(g, tensors[i : i + CONCAT_MAX]) for i in range(0, len(tensors), CONCAT_MAX)]
    return tensors[0]


def concat(g: TfliteLowering, tensors: list[Tensor]) -> Tensor:
    """Along the last stored axis."""
    if len(tensors) == 1:
        return tensors[0]
    shape = (*tensors[0].shape[:-1], sum(tensor.shape[-1] for tensor in tensors))
    return g.op("CONCATENATION", *tensors, shape=shape, options=("ConcatenationOptions", {"axis": len(shape) - 1}))


@RULES(aten.select.int)
def select(g: TfliteLowering, x: Tensor, dim: int, index: int) -> Tensor:
    """tokens[:, 0]: of the (M, D) matrix the first row, as (1, D)."""
    if dim != 1 or g.rank(0) != 3:
        raise UnsupportedError(f"tflite: select along dimension {dim} in {g.scope}; expected a token, tokens[:, i]")
    D = x.shape[1]
    return g.op("SLICE", x, g.ints(index, 0), g.ints(1, D), shape=(1, D), options=("SliceOptions", {}))


@RULES(aten.split_with_sizes.default)
def split(g: TfliteLowering, x: Tensor, widths: list[int], dim: int = 0) -> list[Tensor]:
    rows, parts, begin = x.shape[0], [], 0
    for width in widths:
        at, size = g.ints(0, begin), g.ints(rows, width)
        parts.append(g.op("SLICE", x, at, size, shape=(rows, width), options=("SliceOptions", {})))
        begin += width
    return parts


@RULES(aten.chunk.default)
def chunk(g: TfliteLowering, x: Tensor, chunks: int, dim: int = 0) -> list[Tensor]:
    return split(g, x, [x.shape[-1] // chunks] * chunks)


@RULES(mfedge.mobile_to_former.default)
def mobile_to_former(g: TfliteLowering, features: Tensor, query: Tensor, heads: int, scale: float) -> Tensor:
    pixels = g.reshape(features, -1, features.shape[3])  # (HW, C)
    scores = g.matmul(g.spread_heads(scaled(g, query, scale), heads), pixels, transpose_y=True)  # (N·M, HW)
    return g.gather_heads(g.matmul(g.softmax(scores), pixels), heads)


@RULES(mfedge.former_to_mobile.default)
def former_to_mobile(
    g: TfliteLowering, features: Tensor, key: Tensor, value: Tensor, heads: int, scale: float
) -> Tensor:
    M, C = key.shape
    keys = g.op_reshape_static(g.spread_heads(scaled(g, key, scale), heads), 1, 1, heads * M, C)
    values = g.op_reshape_static(g.spread_heads(value, heads), 1, 1, heads * M, C)
    scores = g.matmul(features, keys, transpose_y=True)  # (1, H, W, N·M)
    attention = concat(g, [g.softmax(part) for part in split_last(g, scores, heads)])
    return g.binary("ADD", features, g.matmul(attention, values))


def split_last(g: TfliteLowering, x: Tensor, parts: int) -> list[Tensor]:
    """A map's channels in equal parts."""
    if parts == 1:
        return [x]
    shape = (*x.shape[:-1], x.shape[-1] // parts)
    axis = g.writer.constant("axis", np.array(len(shape) - 1, np.int32))
    first = g.op("SPLIT", axis, x, shape=shape, options=("SplitOptions", {"numSplits": parts}), outputs=parts)
    return [Tensor(first.index + i, shape) for i in range(parts)]


@RULES(mfedge.former_attention.default)
def former_attention(g: TfliteLowering, query: Tensor, tokens: Tensor, heads: int, scale: float) -> Tensor:
    scores = g.matmul(g.spread_heads(scaled(g, query, scale), heads), tokens, transpose_y=True)  # (N·M, M)
    return g.gather_heads(g.matmul(g.softmax(scores), tokens), heads)


def scaled(g: TfliteLowering, x: Tensor, scale: float) -> Tensor:
    return x if scale == 1 else g.binary("MUL", x, scale)


@RULES(mfedge.dynamic_relu.default)
def dynamic_relu(g: TfliteLowering, features: Tensor, slope1: Tensor, slope2: Tensor) -> Tensor:
    return g.binary("MAXIMUM", g.binary("MUL", features, slope1), g.binary("MUL", features, slope2))
