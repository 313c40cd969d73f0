"""Six small language models: GPT-2, Llama, BERT, a mixture of experts, an LSTM, and gated convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WORDS, LENGTH, WIDTH, HEADS = 61, 16, 32, 4


def language_model(name: str) -> nn.Module:
    """The model with this name; it maps tokens (N, LENGTH) to scores (N, LENGTH, WORDS)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return MODELS[name]()


def tokens(batch: int, seed: int) -> Tensor:
    return torch.randint(WORDS, (batch, LENGTH), generator=torch.Generator().manual_seed(seed))


class Gpt(nn.Module):
    """GPT-2: learned positions, pre-norm, one product for q, k and v, and an output layer tied to the embedding."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.ModuleList(GptBlock() for _ in range(depth))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.places(torch.arange(words.shape[1]))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


class GptBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down, self.drop = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        q, k, v = (own.view(n, t, HEADS, -1).transpose(1, 2) for own in self.qkv(self.norm_1(x)).split(c, dim=2))
        scores = (q @ k.transpose(-2, -1)) * (c // HEADS) ** -0.5
        weights = scores.masked_fill(torch.ones(t, t, dtype=torch.bool).triu(1), float("-inf")).softmax(dim=-1)
        x = x + self.drop(self.out((weights @ v).transpose(1, 2).reshape(n, t, c)))
        return x + self.drop(self.down(F.gelu(self.up(self.norm_2(x)), approximate="tanh")))  # type: ignore[no-any-return]


class RmsNorm(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Llama(nn.Module):
    """Llama: RMS norm, rotary positions, two query heads per key and value head, and a gated feed-forward layer."""

    def __init__(self, depth: int = 2) -> None:
        super().__init__()
        self.words, self.norm, self.head = (
            nn.Embedding(WORDS, WIDTH),
            RmsNorm(WIDTH),
            nn.Linear(WIDTH, WORDS, bias=False),
        )
        self.blocks = nn.ModuleList(LlamaBlock() for _ in range(depth))

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # type: ignore[no-any-return]


class LlamaBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm_1, self.norm_2 = RmsNorm(WIDTH), RmsNorm(WIDTH)
        self.q, self.out = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(2))
        self.k, self.v = (nn.Linear(WIDTH, WIDTH // 2, bias=False) for _ in range(2))
        self.gate, self.up = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in range(2))
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c = x.shape
        normed = self.norm_1(x)
        q = rotated(self.q(normed).view(n, t, HEADS, -1).transpose(1, 2))
        k = rotated(self.k(normed).view(n, t, HEADS // 2, -1).transpose(1, 2)).repeat_interleave(2, dim=1)
        v = self.v(normed).view(n, t, HEADS // 2, -1).transpose(1, 2).repeat_interleave(2, dim=1)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(n, t, c))
        normed = self.norm_2(x)
        return x + self.down(F.silu(self.gate(normed)) * self.up(normed))  # type: ignore[no-any-return]


def rotated(x: Tensor) -> Tensor:
    """Rotary position embedding of (N, heads, T, d): rotates the halves of d by angles that grow with position."""
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[2])[:, None] * 10000.0 ** (-torch.arange(half) / half)
    cos, sin = (torch.cat([own, own], dim=-1).to(x.dtype) for own in (angle.cos(), angle.sin()))
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


class Bert(nn.Module):
    """BERT: torch's own encoder, which attends in both directions, with a padding mask."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH, padding_idx=0), nn.Embedding(LENGTH, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 2 * WIDTH, activation="gelu", batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS))

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words) + self.places(torch.arange(words.shape[1]))
        return self.head(self.encoder(x, src_key_padding_mask=words == 0))  # type: ignore[no-any-return]


class Experts(nn.Module):
    """A mixture of experts. A gate sends each token to two of four experts, and adds their weighted outputs there."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.norm, self.head = nn.Embedding(WORDS, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS)
        self.block, self.gate = GptBlock(), nn.Linear(WIDTH, 4, bias=False)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH)) for _ in range(4)
        )

    def forward(self, words: Tensor) -> Tensor:
        x = self.block(self.words(words))
        rows = self.norm(x).flatten(0, 1)
        best, chosen = self.gate(rows).softmax(dim=-1).topk(2, dim=-1)
        best = best / best.sum(dim=-1, keepdim=True)
        mixed = torch.zeros_like(rows)
        for number, expert in enumerate(self.experts):
            row, rank = torch.where(chosen == number)
            own = expert(rows[row]) * best[row, rank, None]
            mixed = mixed.index_add(0, row, own.to(mixed.dtype))
        return self.head(x + mixed.view_as(x))  # type: ignore[no-any-return]


class Lstm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.cells = nn.Embedding(WORDS, WIDTH), nn.LSTM(WIDTH, WIDTH, 2, batch_first=True, dropout=0.1)
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.cells(self.words(words))[0])  # type: ignore[no-any-return]


class Convolutional(nn.Module):
    """Causal gated convolutions; each has twice the dilation of the one before."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(WORDS, WIDTH), nn.Conv1d(WIDTH, WORDS, 1)
        self.layers = nn.ModuleList(
            nn.utils.parametrizations.weight_norm(nn.Conv1d(WIDTH, 2 * WIDTH, 3, dilation=2**number))
            for number in range(3)
        )

    def forward(self, words: Tensor) -> Tensor:
        x = self.words(words).transpose(1, 2)
        for number, layer in enumerate(self.layers):
            x = (x + F.glu(layer(F.pad(x, (2 * 2**number, 0))), dim=1)) * 0.5**0.5
        return self.head(x).transpose(1, 2)  # type: ignore[no-any-return]


MODELS: dict[str, type[nn.Module]] = {
    "GPT-2": Gpt,
    "Llama": Llama,
    "BERT": Bert,
    "mixture of experts": Experts,
    "LSTM": Lstm,
    "gated convolutions": Convolutional,
}
