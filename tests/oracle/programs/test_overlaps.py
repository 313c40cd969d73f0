"""Operations in 16 bits that add up many elements at one place: torch's kernels, which add them in 16 bits, are not accused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import oracle

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta")

MANY = torch.arange(800) % 60
FEW = torch.arange(600) % 5
OPERATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "as_strided": lambda x: x.as_strided((20, 40), (1, 1)),
    "as_strided, expanded": lambda x: x.as_strided((20, 30, 40), (1, 0, 1)),
    "unfold": lambda x: x.unfold(0, 40, 1),
    "unfold twice": lambda x: x.reshape(6, 10).unfold(1, 6, 1).unfold(0, 4, 1),
    "expand": lambda x: x[:, None].expand(-1, 400),
    "take": lambda x: torch.take(x, MANY),
    "fold": lambda x: F.fold(x[:54].reshape(1, 9, 6).repeat(1, 4, 1), (7, 8), (6, 6)),
    "im2col": lambda x: F.unfold(x.reshape(1, 1, 6, 10), (5, 5)),
    "repeat": lambda x: x.repeat(400),
    "repeat_interleave": lambda x: x.repeat_interleave(400),
    "gather": lambda x: x.gather(0, MANY),
    "index": lambda x: x[MANY],
    "index_select": lambda x: x.index_select(0, MANY),
    "take_along_dim": lambda x: x.take_along_dim(MANY, 0),
    "embedding": lambda x: F.embedding(MANY % 6, x.reshape(6, 10)),
    "embedding_bag, sum": lambda x: F.embedding_bag(MANY.reshape(4, 200) % 6, x.reshape(6, 10), mode="sum"),
    "embedding_bag, mean": lambda x: F.embedding_bag(MANY.reshape(4, 200) % 6, x.reshape(6, 10), mode="mean"),
    "index_add": lambda x: x[:5].index_add(0, FEW, x.repeat(10)),
    "index_put": lambda x: x[:5].index_put((FEW,), x.repeat(10), accumulate=True),
    "put": lambda x: x[:5].put(FEW, x.repeat(10), accumulate=True),
    "scatter_add": lambda x: x[:5].scatter_add(0, FEW, x.repeat(10)),
    **{
        f"scatter_reduce, {reduce}": lambda x, reduce=reduce: torch.ones(5, dtype=x.dtype).scatter_reduce(
            0, FEW, x.sigmoid().repeat(10) + 0.5, reduce, include_self=reduce != "mean"
        )
        for reduce in ("sum", "mean", "prod", "amax", "amin")
    },
    **{
        f"scatter_reduce of rows, {reduce}": lambda x, reduce=reduce: torch.zeros(5, 6, dtype=x.dtype).scatter_reduce(
            0, FEW[:100, None].expand(100, 6), x.repeat(10).reshape(100, 6), reduce
        )
        for reduce in ("sum", "mean", "amax", "amin")
    },
    **{
        f"index_reduce, {reduce}": lambda x, reduce=reduce: torch.ones(5, dtype=x.dtype).index_reduce(
            0, FEW, x.sigmoid().repeat(10) + 0.5, reduce
        )
        for reduce in ("mean", "prod", "amax", "amin")
    },
    **{
        f"segment_reduce, {reduce}": lambda x, reduce=reduce: torch.segment_reduce(
            x.sigmoid().repeat(10) / 4 + 0.875, reduce, lengths=torch.tensor([100, 500])
        )
        for reduce in ("sum", "mean", "prod")
    },
    "reflection_pad": lambda x: F.pad(x.reshape(6, 10), (9, 9), "reflect"),
    "replication_pad": lambda x: F.pad(x.reshape(6, 10), (99, 99), "replicate"),
    "circular_pad": lambda x: F.pad(x.reshape(6, 10), (10, 10), "circular"),
    "roll": lambda x: torch.stack([x.roll(shift) for shift in range(40)]),
    "nearest": lambda x: F.interpolate(x.reshape(1, 1, 6, 10), scale_factor=20, mode="nearest"),
    "nearest-exact": lambda x: F.interpolate(x.reshape(1, 1, 6, 10), scale_factor=20, mode="nearest-exact"),
    "linear": lambda x: F.interpolate(x.reshape(1, 6, 10), scale_factor=40, mode="linear"),
    "bilinear": lambda x: F.interpolate(x.reshape(1, 1, 6, 10), scale_factor=20, mode="bilinear"),
    "bicubic": lambda x: F.interpolate(x.reshape(1, 1, 6, 10), scale_factor=20, mode="bicubic"),
    "trilinear": lambda x: F.interpolate(x.reshape(1, 1, 3, 4, 5), scale_factor=7, mode="trilinear"),
    "nearest 3d": lambda x: F.interpolate(x.reshape(1, 1, 3, 4, 5), scale_factor=7, mode="nearest"),
    "max_pool1d": lambda x: F.max_pool1d(x.reshape(1, 60), 40, 1),
    "max_pool2d": lambda x: F.max_pool2d(x.reshape(1, 6, 10), 5, 1, 2),
    "max_pool3d": lambda x: F.max_pool3d(x.reshape(1, 3, 4, 5), 3, 1, 1),
    "avg_pool1d": lambda x: F.avg_pool1d(x.reshape(1, 60), 40, 1),
    "avg_pool2d": lambda x: F.avg_pool2d(x.reshape(1, 6, 10), 5, 1, 2),
    "adaptive_avg_pool1d": lambda x: F.adaptive_avg_pool1d(x.reshape(1, 60), 500),
    "adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(x.reshape(1, 6, 10), 50),
    "adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x.reshape(1, 3, 4, 5), 12),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(x.reshape(1, 6, 10), 50),
    "adaptive_max_pool3d": lambda x: F.adaptive_max_pool3d(x.reshape(1, 3, 4, 5), 12),
    "cumsum": lambda x: x.cumsum(0),
    "tile": lambda x: x.tile(3, 100),
    "cat": lambda x: torch.cat([x] * 100),
    "stack": lambda x: torch.stack([x] * 100),
    "outer": lambda x: torch.outer(x, x),
    "kron": lambda x: torch.kron(x, x),
    "broadcast sum": lambda x: x[:, None] + x.repeat(10),
    "broadcast product": lambda x: x[:, None] * x.repeat(10),
    "sum": lambda x: x.repeat(100).sum(),
    "mean": lambda x: x.repeat(100).mean(),
    "where": lambda x: torch.where(x.repeat(10) > 0, x[:, None], x[0]),
    "masked_fill": lambda x: x.repeat(10).masked_fill(x.repeat(10) > 0, x[0]),
    "index_fill": lambda x: x.repeat(10).index_fill(0, FEW, x[0]),
    "bilinear product": lambda x: F.bilinear(x.reshape(20, 3), x.reshape(20, 3) + 1, x[:18].reshape(2, 3, 3)),
    "prelu": lambda x: F.prelu(x.reshape(20, 3), x[:3]),
    "layer_norm": lambda x: F.layer_norm(x.repeat(20).reshape(400, 3), (3,), x[:3], x[3:6]),
    "group_norm": lambda x: F.group_norm(x.repeat(20).reshape(100, 4, 3), 2, x[:4], x[4:8]),
    "batch_norm": lambda x: F.batch_norm(x.repeat(20).reshape(400, 3), None, None, x[:3], x[3:6], True),
    "rms_norm": lambda x: F.rms_norm(x.repeat(20).reshape(400, 3), (3,), x[:3]),
    "conv1d": lambda x: F.conv1d(x.repeat(10).reshape(1, 1, 600), x[:5].reshape(1, 1, 5), x[:1]),
    "conv_transpose1d": lambda x: F.conv_transpose1d(x.repeat(10).reshape(1, 1, 600), x[:5].reshape(1, 1, 5), x[:1]),
    "linear layer": lambda x: F.linear(x.repeat(20).reshape(400, 3), x[:6].reshape(2, 3), x[:2]),
    "max_unpool2d": lambda x: F.max_unpool2d(*F.max_pool2d(x.reshape(1, 1, 6, 10), 2, return_indices=True), 2),
    "logsumexp": lambda x: x.repeat(20).logsumexp(0),
    "softmax": lambda x: x.repeat(20).softmax(0),
    "diagonal": lambda x: x.reshape(6, 10).diagonal().expand(100, 6),
    "flip": lambda x: x.expand(100, 60).flip(0),
    "tril": lambda x: x[:6].expand(6, 6).tril(),
    "embedding, by frequency": lambda x: F.embedding(MANY % 6, x.reshape(6, 10), scale_grad_by_freq=True),
    "embedding_bag, weighted": lambda x: F.embedding_bag(
        MANY.reshape(4, 200) % 6, x.reshape(6, 10), per_sample_weights=x[:4, None].expand(4, 200), mode="sum"
    ),
    "embedding_bag, max": lambda x: F.embedding_bag(MANY.reshape(4, 200) % 6, x.reshape(6, 10), mode="max"),
    "index, two dimensions": lambda x: x.reshape(6, 10)[MANY % 6, MANY % 10],
    "index_put, one value": lambda x: x.repeat(10).index_put((FEW,), x[0], accumulate=True),
    "index_copy": lambda x: x.repeat(10).index_copy(0, MANY[:60], x),
    "masked_select": lambda x: x.expand(100, 60).masked_select(torch.arange(60) % 3 > 0),
    "masked_scatter": lambda x: x[0].masked_scatter(MANY % 3 > 0, x.repeat(10)),
    "grid_sample": lambda x: F.grid_sample(
        x.reshape(1, 1, 6, 10), torch.linspace(-1, 1, 800, dtype=x.dtype).reshape(1, 20, 20, 2), align_corners=False
    ),
    "diff": lambda x: x.expand(40, 60).diff(dim=0),
    "trapezoid": lambda x: torch.trapezoid(x.repeat(20)),
    "sum of two dimensions": lambda x: x.expand(50, 60).reshape(50, 6, 10).sum((0, 2)),
    "mean of three dimensions": lambda x: x.expand(50, 60).reshape(5, 10, 6, 10).mean((0, 1, 3)),
    "amax of many equal": lambda x: x.sign().repeat(20).amax(0) + x.repeat(20).reshape(20, 60).amax(0),
    "var": lambda x: x.repeat(20).var(0),
    "norm": lambda x: x.repeat(20).norm(),
    "instance_norm": lambda x: F.instance_norm(x.repeat(20).reshape(4, 3, 100), weight=x[:3], bias=x[3:6]),
    "local_response_norm": lambda x: F.local_response_norm(x.reshape(1, 30, 2), 20),
    "cosine_similarity": lambda x: F.cosine_similarity(x.repeat(20).reshape(20, 60), x.expand(20, 60)),
    "circular convolution": lambda x: F.conv1d(
        F.pad(x.reshape(1, 1, 60), (20, 20), "circular"), x[:9].reshape(1, 1, 9)
    ),
    "grouped convolution": lambda x: F.conv2d(x.repeat(8).reshape(2, 4, 6, 10), x[:36].reshape(4, 1, 3, 3), groups=4),
    "einsum with a sum": lambda x: torch.einsum("ij,jk,j->ik", x.reshape(6, 10), x.reshape(10, 6), x[:10]),
    "baddbmm": lambda x: torch.baddbmm(x[:1], x.reshape(2, 5, 6), x.reshape(2, 6, 5)),
    "addbmm": lambda x: torch.addbmm(x[:1], x.expand(9, 60).reshape(18, 5, 6), x.expand(9, 60).reshape(18, 6, 5)),
    "addmv": lambda x: torch.addmv(x[:1], x.reshape(6, 10), x[:10]),
    "addr": lambda x: torch.addr(x[:1], x, x),
    "cross": lambda x: torch.linalg.cross(x.reshape(20, 3), x[None, :3]),
    "diag_embed": lambda x: torch.diag_embed(x) @ torch.diag_embed(x),
    "huber_loss": lambda x: F.huber_loss(x.repeat(20), x[0].detach().expand(1200)),
    "mse_loss": lambda x: F.mse_loss(x.repeat(20), x[0].expand(1200)),
    "l1_loss": lambda x: F.l1_loss(x.repeat(20), x[0].expand(1200)),
    "kl_div": lambda x: F.kl_div(x.repeat(20), x.detach().abs().repeat(20), reduction="sum"),
    "pairwise distance": lambda x: F.pairwise_distance(x.reshape(6, 10), x[:10] * 2 + 1),
    "lerp": lambda x: torch.lerp(x.repeat(10), x[0], x[1]),
    "addcmul": lambda x: torch.addcmul(x.repeat(10), x[0], x[1]),
    "addcdiv": lambda x: torch.addcdiv(x.repeat(10), x[0], x[1].abs() + 1),
    "clamp": lambda x: x.repeat(10).clamp(x[0], x[0] + 1),
    "maximum": lambda x: torch.maximum(x.repeat(10), x[0]),
    "pow": lambda x: (x.repeat(10).abs() + 0.5).pow(x[0]),
    "attention": lambda x: F.scaled_dot_product_attention(*[x.expand(20, 60).reshape(1, 2, 300, 2)] * 3),
    "nll_loss": lambda x: F.nll_loss(x.repeat(20).reshape(400, 3), MANY[:400] % 3, x[:3].detach().abs()),
    "cross_entropy": lambda x: F.cross_entropy(x.repeat(20).reshape(400, 3), MANY[:400] % 3),
}


class Operation(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) * 1.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_torch_is_not_accused(name: str, dtype: torch.dtype) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(60).to(dtype).requires_grad_()
        report = oracle.check_module(Operation(OPERATIONS[name]), x)
        assert not report.blame, report.blame


PLACES = torch.arange(30000) * 7 % 6
EQUAL: dict[str, Callable[[Tensor], Tensor]] = {
    "embedding": lambda x: F.embedding(PLACES, x).mean(),
    "embedding_bag": lambda x: F.embedding_bag(PLACES.reshape(3, 10000), x, mode="sum").mean(),
    "index": lambda x: x[PLACES].mean(),
    "gather": lambda x: x.gather(0, PLACES[:, None].expand(-1, 10)).mean(),
    "index_add": lambda x: torch.zeros_like(x).index_add(0, PLACES, x[:1].expand(30000, 10)),
    "scatter_add": lambda x: torch.zeros_like(x).scatter_add(
        0, PLACES[:, None].expand(-1, 10), x[:1].expand(30000, 10)
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_many_equal_terms_are_not_accused(name: str) -> None:
    """A loop that adds up equal terms rounds many of them alike, so its error grows with their number and not with its root."""
    torch.manual_seed(0)
    report = oracle.check_module(Operation(EQUAL[name]), torch.rand(6, 10).requires_grad_())
    assert not report.blame, report.blame


def test_a_wrong_sum_of_equal_terms_is_found() -> None:
    """A term in a thousand that is left out is more than their rounding."""

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x[PLACES]

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> Tensor:  # type: ignore[override]
            kept = torch.arange(len(PLACES)) % 1000 > 0
            return torch.zeros(6, 10).index_add(0, PLACES[kept], grad[kept])

    torch.manual_seed(0)
    report = oracle.check_module(Operation(lambda x: Wrong.apply(x).mean()), torch.rand(6, 10).requires_grad_())  # type: ignore[no-untyped-call]
    assert [row.quantity for row in report.blame] == ["grad_input"]
