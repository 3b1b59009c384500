"""Mobile-Former on phones and small CPUs: exact networks, proven exports, believable latency."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mfedge import telemetry

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

__version__ = "0.1.0"
__all__ = ["__version__", "create_model"]

telemetry.switch_off()


def create_model(
    variant: str, weights: str | Path | None = None, num_classes: int = 1000, **overrides: Any
) -> nn.Module:
    """A network in eval mode, float32.

    Args:
        variant: "214m", "mobile-former-214m", "mobilenet-v3-large", …, or the path of a TOML file.
        weights: a safetensors or torch file; None gives random weights from a fixed seed.
        num_classes: outputs of the classifier.
        overrides: fields of the spec, for instance ``tokens=3``.

    Returns:
        A module, (B, 3, H, W) normalised RGB → (B, num_classes) logits.

    Raises:
        UsageError: unknown variant or field.
        CheckpointError: the weights cannot be read safely or do not fit.
    """
    import json

    from mfedge.checkpoint import load_weights
    from mfedge.zoo import build, load_spec

    network = build(
        load_spec(variant, [f"{field}={json.dumps(value)}" for field, value in overrides.items()]), num_classes
    )
    if weights is not None:
        load_weights(network, weights)
    return network
