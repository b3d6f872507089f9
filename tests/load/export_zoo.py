"""Write the zoo: small seeded fp32 networks as both torch exporters write them, each with an input and torch's output.

Not a test, and torch is not a dependency of the tests. Run by hand after a change here, with torch, onnx, onnxscript:

    python tests/load/export_zoo.py            # writes tests/load/zoo/
    python tests/load/export_zoo.py einsum     # only the networks whose names contain the word

File names: <network>.<exporter><opset>.onnx and <network>.npz (x, y). `test_onnx.py` says which are refused, and why.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

ZOO = Path(__file__).resolve().parent / "zoo"
TOKENS, EMBED, HEADS, HIDDEN = 5, 12, 3, 16
DIM = EMBED // HEADS
LEGACY, DYNAMO = 17, 18  # the opsets of an export that tests something else
BOTH = (("legacy", LEGACY), ("dynamo", DYNAMO))
MAX_FILE_BYTES = 40_000


class Plain(nn.Module):
    """A module with one argument: the legacy exporter makes tensors of the defaults of the others."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def encoder_layer(activation: str = "gelu", norm_first: bool = False, batch_first: bool = True) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        EMBED, HEADS, HIDDEN, dropout=0.1, activation=activation, batch_first=batch_first, norm_first=norm_first
    )
    return Plain(layer)


class SelfAttention(nn.Module):
    """nn.MultiheadAttention alone."""

    def __init__(self, mask: bool = False, causal: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(EMBED, HEADS, batch_first=True)
        bias = torch.triu(torch.full((TOKENS, TOKENS), -1e9), 1) if causal else torch.randn(TOKENS, TOKENS)
        self.register_buffer("mask", bias if mask or causal else None)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False, attn_mask=self.mask)[0]


class Averaged(nn.Module):
    """nn.MultiheadAttention with need_weights=True: attention spelled out with baddbmm or bmm; weights not returned."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(EMBED, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=True)[0]


class HandWritten(nn.Module):
    """Split projections, any head size, one division of the scores; `step` computes softmax(q·k)·v of split heads."""

    def __init__(self, heads: int = HEADS, dim: int = DIM, key_heads: int = 0, bias: bool = True, how: str = "div"):
        super().__init__()
        self.heads, self.dim, self.key_heads, self.how = heads, dim, key_heads or heads, how
        self.q = nn.Linear(EMBED, heads * dim, bias=bias)
        self.k = nn.Linear(EMBED, self.key_heads * dim, bias=bias)
        self.v = nn.Linear(EMBED, self.key_heads * dim, bias=bias)
        self.o = nn.Linear(heads * dim, EMBED, bias=bias)

    def split(self, x: Tensor, heads: int) -> Tensor:
        return x.view(x.shape[0], x.shape[1], heads, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(self.q(x), self.heads), self.split(self.k(x), self.key_heads), self.v(x)
        v = self.split(v, self.key_heads)
        if self.how == "einsum":
            scores = torch.einsum("bihd,bjhd->bhij", q, k) * self.dim**-0.5
            y = torch.einsum("bhij,bjhd->bihd", scores.softmax(-1), v)
            return self.o(y.reshape(x.shape[0], x.shape[1], -1))
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if self.how == "repeat":
            k, v = (z.repeat_interleave(self.heads // self.key_heads, dim=1) for z in (k, v))
        if self.how == "einsum_heads":
            scores = torch.einsum("bhid,bhjd->bhij", q * self.dim**-0.5, k)
            y = torch.einsum("bhij,bhjd->bhid", scores.softmax(-1), v)
        elif self.how == "quarter":
            root = self.dim**-0.25
            y = ((q * root) @ (k.transpose(-2, -1) * root)).softmax(-1) @ v
        elif self.how == "sdpa":
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = (q @ k.transpose(-2, -1) / math.sqrt(self.dim)).softmax(-1) @ v
        return self.o(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))


class Packed(nn.Module):
    """One [E, 3E] projection, unbound after a permute, as in timm's ViT; `norm` adds the refused query and key norms."""

    def __init__(self, norm: bool = False, mask: str = "", rope: bool = False) -> None:
        super().__init__()
        self.qkv, self.o, self.rope = nn.Linear(EMBED, 3 * EMBED), nn.Linear(EMBED, EMBED), rope
        self.norm = nn.LayerNorm(DIM) if norm else nn.Identity()
        masks = {"zero": torch.zeros(TOKENS, TOKENS), "true": torch.ones(TOKENS, TOKENS, dtype=torch.bool)}
        self.register_buffer("mask", masks.get(mask))
        hidden = torch.zeros(TOKENS, TOKENS, dtype=torch.bool)
        self.register_buffer("hidden", {"fill": hidden, "fill_causal": (~hidden).triu(1)}.get(mask))
        angle = torch.arange(TOKENS)[:, None] / 10.0 ** torch.arange(DIM // 2)[None]
        self.register_buffer("cos", torch.cat([angle.cos()] * 2, -1))
        self.register_buffer("sin", torch.cat([angle.sin()] * 2, -1))

    def turn(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, -1)
        return x * self.cos + torch.cat([-right, left], -1) * self.sin if self.rope else x

    def forward(self, x: Tensor) -> Tensor:
        b, s, _ = x.shape
        q, k, v = self.qkv(x).reshape(b, s, 3, HEADS, DIM).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.turn(self.norm(q)), self.turn(self.norm(k))
        if self.mask is not None and self.mask.dtype == torch.float32:
            y = ((q @ k.transpose(-2, -1)) * DIM**-0.5 + self.mask).softmax(-1) @ v
        elif self.hidden is not None:
            y = ((q @ k.transpose(-2, -1)) * DIM**-0.5).masked_fill(self.hidden, -math.inf).softmax(-1) @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)
        return self.o(y.transpose(1, 2).reshape(b, s, EMBED))


class FeedForward(nn.Module):
    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.up, self.activation, self.down = nn.Linear(EMBED, HIDDEN), activation, nn.Linear(HIDDEN, EMBED)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(self.activation(self.up(x)))


class HandLayer(nn.Module):
    """A post-norm layer without scaled_dot_product_attention, which the legacy exporter knows from opset 14 on."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.feed_forward = HandWritten(), FeedForward(nn.GELU())
        self.norms = nn.ModuleList(nn.LayerNorm(EMBED) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[1](self.feed_forward(self.norms[0](x + self.attention(x))))


class Classifier(nn.Module):
    """Embedding, positions, one layer, and a readout: mean, class token or everything flattened."""

    def __init__(self, readout: str = "mean", pairs: bool = False) -> None:
        super().__init__()
        self.embed, self.readout, self.pairs = nn.Linear(7, EMBED), readout, pairs
        self.positions = nn.Parameter(torch.randn(1, TOKENS + (readout == "class"), EMBED))
        self.token = nn.Parameter(torch.randn(1, 1, EMBED))
        self.layer, self.norm = encoder_layer(norm_first=True), nn.LayerNorm(EMBED)
        self.head = nn.Linear(EMBED * (TOKENS if readout == "flat" else 1), 4)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.embed(x)
        if self.readout == "class":
            x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        x = self.norm(self.layer(x + self.positions))
        y = {"mean": lambda: x.mean(1), "class": lambda: x[:, 0], "flat": lambda: x.flatten(1)}[self.readout]()
        return (self.head(y), x) if self.pairs else self.head(y)


class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer = nn.Conv2d(1, EMBED, 4, 4), encoder_layer()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.embed(x).flatten(2).transpose(1, 2))


class Ids(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.layer = nn.Embedding(9, EMBED), encoder_layer()

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.embed(x))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(EMBED, HEADS, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.attention(x, x, x, need_weights=False, attn_mask=mask)[0]


class Crossed(nn.Module):
    """Queries of one projection of the input, keys and values of another: two streams, one input."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(EMBED, EMBED), nn.Linear(EMBED, EMBED)
        self.attention = nn.MultiheadAttention(EMBED, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x, y = self.left(x).relu(), self.right(x).relu()
        return self.attention(x, y, y, need_weights=False)[0]


def tokens(channels: int = EMBED) -> tuple[Tensor]:
    return (torch.randn(1, TOKENS, channels),)


def first() -> tuple[Tensor]:
    return (torch.randn(TOKENS, 1, EMBED),)


OPSETS = (*(("legacy", n) for n in (14, 17, 18)), *(("dynamo", n) for n in (18, 20, 23)))
# network: (module, inputs, exports, dynamic axes of the first input)
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]], tuple, dict[int, str]]] = {
    "post_gelu": (encoder_layer, tokens, OPSETS, {}),
    "pre_relu": (
        lambda: nn.Sequential(*(encoder_layer("relu", norm_first=True) for _ in range(2)), nn.LayerNorm(EMBED)),
        tokens,
        (("legacy", 14), *BOTH),
        {},
    ),
    "tokens_first": (lambda: encoder_layer(batch_first=False), first, BOTH, {}),
    "dynamic_batch": (encoder_layer, tokens, (("legacy", 14), *BOTH), {0: "batch"}),
    "mha": (SelfAttention, tokens, BOTH, {}),
    "mha_weights": (Averaged, tokens, BOTH, {}),
    "hand_layer": (HandLayer, tokens, (("legacy", 11), ("legacy", 13), *BOTH), {}),
    "hand_div": (HandWritten, tokens, BOTH, {}),
    "hand_no_bias": (lambda: HandWritten(bias=False), tokens, BOTH, {}),
    "hand_quarter": (lambda: HandWritten(how="quarter"), tokens, BOTH, {}),
    "head_dim": (lambda: HandWritten(2, 5), tokens, BOTH, {}),
    "one_head": (lambda: HandWritten(1, 7), tokens, BOTH, {}),
    "one_key_head": (lambda: HandWritten(key_heads=1), tokens, BOTH, {}),
    "key_head_pairs": (lambda: HandWritten(4, 3, 2, how="repeat"), tokens, BOTH, {}),
    "sdpa": (lambda: HandWritten(how="sdpa"), tokens, (*BOTH, ("legacy", 14), ("dynamo", 20)), {}),
    "einsum": (lambda: HandWritten(how="einsum"), tokens, BOTH, {}),
    "einsum_heads": (lambda: HandWritten(how="einsum_heads"), tokens, BOTH, {}),
    "packed": (Packed, tokens, BOTH, {}),
    "mask_zero": (lambda: Packed(mask="zero"), tokens, BOTH, {}),
    "mask_true": (lambda: Packed(mask="true"), tokens, BOTH, {}),
    "mask_fill": (lambda: Packed(mask="fill"), tokens, BOTH, {}),
    "gelu_tanh": (lambda: FeedForward(nn.GELU("tanh")), tokens, (*BOTH, ("dynamo", 20)), {}),
    "gelu_erf": (lambda: FeedForward(nn.GELU()), tokens, (*BOTH, ("dynamo", 20)), {}),
    "classifier": (Classifier, lambda: tokens(7), (("legacy", 14), *BOTH), {}),
    "classifier_batch": (Classifier, lambda: tokens(7), BOTH, {0: "batch"}),
    # refused
    "mask_causal": (lambda: SelfAttention(causal=True), tokens, BOTH, {}),
    "mask_fill_causal": (lambda: Packed(mask="fill_causal"), tokens, BOTH, {}),
    "mask_constant": (lambda: SelfAttention(mask=True), tokens, BOTH, {}),
    "mask_input": (Masked, lambda: (*tokens(), torch.zeros(TOKENS, TOKENS)), BOTH, {}),
    "crossed": (Crossed, tokens, BOTH, {}),
    "rope": (lambda: Packed(rope=True), tokens, BOTH, {}),
    "qk_norm": (lambda: Packed(norm=True), tokens, BOTH, {}),
    "ids": (Ids, lambda: (torch.arange(TOKENS)[None],), BOTH, {}),
    "two_outputs": (lambda: Classifier(pairs=True), lambda: tokens(7), BOTH, {}),
    "dynamic_tokens": (encoder_layer, tokens, BOTH, {0: "batch", 1: "tokens"}),
    "patches": (Patches, lambda: (torch.randn(1, 1, 8, 8),), BOTH, {}),
    "class_token": (lambda: Classifier("class"), lambda: tokens(7), BOTH, {}),
    "flat": (lambda: Classifier("flat"), lambda: tokens(7), BOTH, {}),
}


def export(name: str) -> None:
    """Write the .onnx files and the .npz of one network."""
    make, inputs, exports, axes = NETWORKS[name]
    torch.manual_seed(sum(map(ord, name)))
    module, args = make().eval(), inputs()
    with torch.no_grad():
        for parameter in module.parameters():  # so that biases and LayerNorm weights are not 0 and 1
            parameter.add_(0.1 * torch.randn_like(parameter))
        y = module(*args)
        if len(args) == 1 and isinstance(y, Tensor) and args[0].dtype == torch.float32:
            np.savez_compressed(ZOO / f"{name}.npz", x=args[0].numpy(), y=y.numpy())
        names = ["x", "mask"][: len(args)]
        for exporter, opset in exports:
            path = ZOO / f"{name}.{exporter}{opset}.onnx"
            if exporter == "legacy":
                torch.onnx.export(
                    module, args, path, dynamo=False, opset_version=opset, input_names=names, dynamic_axes={"x": axes}
                )
            else:
                sizes = dict.fromkeys(axes, torch.export.Dim.AUTO)
                shapes = {"dynamic_shapes": (sizes,)} if sizes else {}
                torch.onnx.export(
                    module,
                    args,
                    path,
                    dynamo=True,
                    opset_version=opset,
                    input_names=names,
                    external_data=False,
                    **shapes,
                )
                strip(path)
            size = path.stat().st_size
            print(f"{path.name:40} {size:7} bytes{'  TOO LARGE' if size > MAX_FILE_BYTES else ''}")


def strip(path: Path) -> None:
    """Drop what the dynamo exporter says about Python source lines and shapes: most of the bytes, paths of this machine."""
    proto = onnx.load(path)
    del proto.metadata_props[:], proto.graph.metadata_props[:], proto.graph.value_info[:]
    for node in (*proto.graph.node, *(node for function in proto.functions for node in function.node)):
        del node.metadata_props[:]
    for item in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer, *proto.functions):
        del item.metadata_props[:]
    onnx.save(proto, path)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.backends.mha.set_fastpath_enabled(False)
    ZOO.mkdir(exist_ok=True)
    for chosen in NETWORKS:
        if all(word in chosen for word in sys.argv[1:]):
            export(chosen)
