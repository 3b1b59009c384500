"""What is asked for, checked once: everything that can be wrong with an export before anything is computed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from mfedge import reading
from mfedge.count import check_size
from mfedge.errors import CheckpointError, UsageError
from mfedge.families.spec import Spec
from mfedge.families.table import check_kernels
from mfedge.formats.table import FORMATS, Format, format_named
from mfedge.kernels import find as kernels_built
from mfedge.precisions import Precision, precision_named
from mfedge.runtimes.table import RUNTIMES
from mfedge.sizes import Size
from mfedge.zoo import is_shipped

CLASSES = 1000  # of a classifier, unless another number is asked for


class Request(Struct, frozen=True):
    """One network, to be exported in some formats."""

    spec: Spec
    formats: tuple[Format, ...]
    size: Size | None  # None is dynamic
    precision: Precision
    weights: Path | None
    num_classes: int
    kernels: str

    @classmethod
    def of(
        cls,
        spec: Spec,
        formats: Sequence[str],
        size: Size | None,
        precision: str = "fp32",
        weights: Path | None = None,
        num_classes: int = CLASSES,
        kernels: str = "portable",
    ) -> Request:
        """A request whose parts are known to fit together.

        Args:
            spec: of the network.
            formats: names; a repeated one counts once.
            size: of the input; None leaves height and width open.
            precision: a name.
            weights: a checkpoint file; None gives random weights.
            num_classes: outputs of the classifier.
            kernels: "portable" or "native".

        Raises:
            UsageError: an unknown name, no format, or a size that the network does not take.
            UnsupportedError: a spec that the native kernels do not compute.
            MissingRuntimeError: native kernels that are not built: a file could not be proven.
        """
        if not formats:
            raise UsageError(f"--format: expected at least one of {', '.join(FORMATS)}, or --target NAME")
        kernels_built.check_kernels(kernels)
        rows = tuple(format_named(name) for name in dict.fromkeys(formats))
        asked = precision_named(precision)
        check_size(spec, None if size is None else (size.height, size.width))
        if kernels == "native":
            check_kernels(spec)
            for row in rows:
                library = RUNTIMES[row.runtime].kernels
                if library is None:
                    raise UsageError(f"--format {row.name}: {row.runtime} takes no native kernels")
                kernels_built.path(library)
        return cls(spec, rows, size, asked, weights, num_classes, kernels)

    def name(self, row: Format) -> str:
        """The folder of one artifact: `mobile-former-214m-224x320-fp16-native-onnx`.

        It is the artifact's identity: whatever makes a file another file has a place in it. Weights of a checkpoint,
        another number of classes, and a spec that does not ship under its name appear as eight digits of their digest:
        `mobile-former-214m-3f9ac210-224x320-fp32-onnx`.
        """
        height_width = "dynamic" if self.size is None else f"{self.size.height}x{self.size.width}"
        kernels = () if self.kernels == "portable" else (self.kernels,)
        parts = (self.spec.name, *self._identity(), height_width, self.precision.name, *kernels, row.name)
        return "-".join(parts)

    def _identity(self) -> tuple[str, ...]:
        if self.weights is None and self.num_classes == CLASSES and is_shipped(self.spec):
            return ()
        digest = hashlib.sha256(msgspec.json.encode((self.spec, self.num_classes), order="sorted"))
        if self.weights is not None:
            digest.update(weights_sha256(self.weights).encode())
        return (digest.hexdigest()[:8],)


def weights_sha256(path: Path) -> str:
    """Of a checkpoint file.

    Raises:
        CheckpointError: it cannot be read.
    """
    return reading.sha256(path, CheckpointError)
