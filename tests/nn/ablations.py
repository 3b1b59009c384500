"""The rows of the paper's Tables 4, 5, 6, 7 and 14 and equation 3: what `--set` turns Mobile-Former-294M into."""

from __future__ import annotations

ABLATIONS: dict[str, tuple[str, ...]] = {
    "T4 Mobile only": ("mobile_only=true", "activation=relu"),
    "T4 with Former": ("activation=relu",),
    "T4 with dynamic ReLU": (),
    "T5 1 token": ("tokens=1",),
    "T5 3 tokens": ("tokens=3",),
    "T5 9 tokens": ("tokens=9",),
    "T6 width 64": ("token_dim=64",),
    "T6 width 128": ("token_dim=128",),
    "T6 width 256": ("token_dim=256",),
    "T6 width 320": ("token_dim=320",),
    "T7 no FFN": ("former_ffn=false",),
    "T7 position mixing": ("mixing=position-mlp",),
    "T14 kernel 5": ("kernel=5",),
}
SPATIAL = ("activation=spatial-dynamic-relu",)  # equation 3; the classification tables have no row of it
EVERY = {**ABLATIONS, "equation 3": SPATIAL}
