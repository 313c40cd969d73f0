"""Every rule held against torch on its own samples: values and gradients in float64, errors in float32 and in 16 bits."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils import _pytree

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_methods_invocations import op_db

from oracle.judging.derived import expected_of
from oracle.judging.rows import DISCREPANCIES, LOCAL, PASS, Row
from oracle.judging.verdict import compare
from oracle.programs.execution import Arithmetic, Plain, Run, WithErrors
from oracle.programs.torch_calls import record
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.subjects.torch import array, can_learn

pytestmark = pytest.mark.filterwarnings("ignore:.*is in beta", "ignore:Using torch.cross without")
# OpInfo's names, by family of rules.
OPS = {
    "arithmetic": (
        "add sub rsub mul div neg square sqrt rsqrt reciprocal addcmul addcdiv lerp abs sign sgn floor ceil trunc round "
        "maximum minimum clamp clamp_min clamp_max remainder frac fmod fmax fmin copysign hypot ldexp frexp nan_to_num nextafter "
        "deg2rad rad2deg angle"
    ),
    "functions": (
        "exp exp2 expm1 log log2 log10 log1p sin cos tan sinh cosh asin acos atan asinh atanh erf logaddexp xlogy atan2 "
        "acosh logaddexp2 pow float_power __rpow__"
    ),
    "special": (
        "lgamma digamma polygamma mvlgamma erfc erfinv i0 logit sinc special.entr special.erfcx special.i0e special.i1 "
        "special.i1e special.log_ndtr special.ndtri special.xlog1py special.polygamma"
    ),
    "products": "mm bmm addmm baddbmm matmul nn.functional.linear dot vdot mv einsum nn.functional.bilinear addbmm addmv addr",
    "reductions": (
        "sum mean var std var_mean std_mean amax amin max min logsumexp cumsum prod norm linalg.vector_norm "
        "nn.functional.normalize aminmax dist renorm nansum nanmean trace masked.amax masked.amin masked.norm masked.prod "
        "masked.logaddexp"
    ),
    "cumulative": "cumprod logcumsumexp cummax cummin masked.cumprod linalg.vander",
    "order": "median nanmedian kthvalue mode masked.median",
    "views": (
        "transpose permute view expand split chunk unsqueeze select narrow cat stack diagonal unfold as_strided clone fill "
        "zero_ repeat roll flip tril triu tile"
    ),
    "activations": (
        "nn.functional.relu nn.functional.relu6 nn.functional.gelu nn.functional.silu sigmoid tanh softmax log_softmax "
        "nn.functional.hardtanh nn.functional.hardsigmoid nn.functional.hardswish nn.functional.leaky_relu nn.functional.mish "
        "nn.functional.softplus nn.functional.hardshrink nn.functional.softshrink nn.functional.threshold nn.functional.glu "
        "nn.functional.elu nn.functional.celu nn.functional.selu nn.functional.prelu nn.functional.logsigmoid "
        "nn.functional.softsign nn.functional.tanhshrink nn.functional.softmin nn.functional.rrelu "
        "torch.ops.aten._safe_softmax.default"
    ),
    "images": (
        "nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d nn.functional.conv_transpose1d "
        "nn.functional.conv_transpose2d nn.functional.conv_transpose3d nn.functional.max_pool1d nn.functional.max_pool2d "
        "nn.functional.max_pool3d nn.functional.avg_pool1d nn.functional.avg_pool2d nn.functional.avg_pool3d "
        "nn.functional.adaptive_avg_pool1d nn.functional.adaptive_avg_pool2d nn.functional.adaptive_avg_pool3d "
        "nn.functional.adaptive_max_pool1d nn.functional.adaptive_max_pool2d nn.functional.adaptive_max_pool3d "
        "nn.functional.pad nn.functional.interpolate nn.functional.pixel_shuffle nn.functional.pixel_unshuffle "
        "nn.functional.unfold"
    ),
    "normalization": (
        "nn.functional.layer_norm nn.functional.batch_norm nn.functional.group_norm nn.functional.instance_norm "
        "nn.functional.rms_norm"
    ),
    "indexing": (
        "nn.functional.embedding where masked_fill gather scatter scatter_add index_select index_add index_put index_fill "
        "topk sort take_along_dim put index_copy __getitem__ "
        "nn.functional.embedding_bag"
    ),
    "linear_algebra": (
        "linalg.inv linalg.inv_ex linalg.solve linalg.solve_ex linalg.solve_triangular linalg.det linalg.slogdet logdet "
        "linalg.cholesky linalg.cholesky_ex cholesky cholesky_solve cholesky_inverse linalg.tensorinv linalg.tensorsolve "
        "matrix_exp"
    ),
    "decompositions": (
        "linalg.eigh linalg.eigvalsh linalg.svd linalg.svdvals linalg.qr linalg.lu_solve linalg.pinv linalg.matrix_norm "
        "linalg.cond svd pinverse"
    ),
    "pooling": (
        "nn.functional.max_unpool2d nn.functional.max_unpool3d nn.functional.fractional_max_pool2d "
        "nn.functional.fractional_max_pool3d native_dropout_backward"
    ),
    "ctc": "nn.functional.ctc_loss",
    "resizing": "_upsample_bilinear2d_aa",
    "copies": (
        "alias_copy as_strided_copy diagonal_copy expand_copy narrow_copy permute_copy squeeze_copy t_copy transpose_copy "
        "unbind_copy unfold_copy unsqueeze_copy view_copy split_with_sizes_copy diagonal_scatter "
        "select_scatter slice_scatter diag_embed rot90 block_diag"
    ),
    "masked": "masked_select masked_scatter _unsafe_masked_index _unsafe_masked_index_put_accumulate",
    "distances": "cdist nn.functional.pdist cross linalg.cross",
    "sampling": "grid_sampler_2d grid_sampler_3d nn.functional.grid_sample",
    "scattering": "scatter_reduce index_reduce _segment_reduce",
    "losses": (
        "nn.functional.nll_loss nn.functional.cross_entropy nn.functional.mse_loss nn.functional.l1_loss "
        "nn.functional.smooth_l1_loss nn.functional.huber_loss nn.functional.binary_cross_entropy "
        "nn.functional.binary_cross_entropy_with_logits nn.functional.kl_div nn.functional.soft_margin_loss "
        "nn.functional.multi_margin_loss nn.functional.multilabel_margin_loss nn.functional.cosine_embedding_loss"
    ),
    "attention": "nn.functional.scaled_dot_product_attention",
}
INFOS = {(info.name, info.variant_test_name): info for info in op_db}
# torch's own, which the samples of its tests are drawn from.
SEED = 1234
# So many samples of each, evenly over all that there are.
MOST = 4
# The same arguments come with smaller arrays too.
LARGEST = 20_000
# Arguments that change the weight in place, which is not the rule's.
LEFT_OUT = {"nn.functional.embedding": {"max_norm", "sparse"}, "scatter": {"reduce"}}
# torch rounds its constant 1/6 to float32: reports/findings/torch-hardsigmoid-float64.md.
KNOWN = {"nn.functional.hardsigmoid": 2.0**-24}
# The largest error of so many numbers is at least so many standard deviations; the smallest that was found is 0.09.
MANY, LEAST = 10, 0.02
# torch's results are garbage: reports/findings/torch-matrix-exp-16-bits.md.
GARBAGE_IN_16_BITS = {"matrix_exp"}
WITHOUT_A_RULE = {("linalg.pinv", "hermitian")}


def size(sample: Any) -> int:
    """The number of elements of a sample's largest array."""
    leaves = _pytree.tree_leaves((sample.input, sample.args, sample.kwargs))
    return max((own.numel() for own in leaves if isinstance(own, torch.Tensor)), default=0)


def drawn(info: Any, dtype: torch.dtype) -> Iterator[Any]:
    """torch's samples, each from the same seed. torch.manual_seed would write a traceback down for every absent device.

    `info.sample_inputs` would also look through the source of every function on the stack, for the name of torch's own test.
    """
    found = iter(info.sample_inputs_func(info, "cpu", dtype, False))
    while True:
        random.seed(SEED)
        np.random.seed(SEED)
        torch.default_generator.manual_seed(SEED)
        try:
            yield next(found)
        except StopIteration:
            return


def samples(name: str, variant: str, dtype: torch.dtype) -> Iterator[tuple[Any, list[torch.Tensor]]]:
    """A function of some tensors, and these."""
    info = INFOS[name, variant]
    found = list(drawn(info, dtype))
    found = [sample for sample in found if LEFT_OUT.get(name, set()).isdisjoint(sample.kwargs)]
    found = [sample for sample in found if size(sample) <= LARGEST] or found
    for sample in found[:: max(1, -(-len(found) // MOST))]:
        flat, spec = _pytree.tree_flatten((sample.input, sample.args, sample.kwargs))
        where = [i for i, own in enumerate(flat) if isinstance(own, torch.Tensor)]

        def fn(*tensors: torch.Tensor, flat: Any = flat, spec: Any = spec, where: Any = where) -> Any:
            given = list(flat)
            for place, own in zip(where, tensors, strict=True):
                given[place] = own
            input, args, kwargs = _pytree.tree_unflatten(given, spec)
            made = info.op(input.clone() if name.endswith("_") else input, *args, **kwargs)
            return [own for own in _pytree.tree_leaves(made) if isinstance(own, torch.Tensor)]

        yield fn, [flat[place] for place in where]


Tensors = list[torch.Tensor | None]


def torch_gradients(fn: Any, inputs: list[torch.Tensor]) -> tuple[list[torch.Tensor], Tensors, Tensors]:
    """The inputs as torch differentiates by them, random gradients of the outputs, and what torch makes of these."""
    given = [own.detach().requires_grad_(can_learn(own)) for own in inputs]
    try:
        outputs = fn(*given)
    except RuntimeError as error:
        if "is not differentiable with respect to" not in str(error):
            raise
        given = [given[0], *(own.detach() for own in inputs[1:])]
        outputs = fn(*given)
    upstream = [torch.randn_like(own) if own.requires_grad else None for own in outputs]
    learnt = [own for own in given if own.requires_grad]
    made = iter(
        torch.autograd.grad(
            [own for own in outputs if own.requires_grad],
            learnt,
            [own for own in upstream if own is not None],
            allow_unused=True,
        )
        if any(own is not None for own in upstream)
        else [None] * len(learnt)
    )
    return given, upstream, [next(made) if own.requires_grad else None for own in given]


def run(
    fn: Any, inputs: list[torch.Tensor], upstream: list[torch.Tensor | None], arithmetic: Arithmetic
) -> tuple[list[Any], list[Any]]:
    program, _ = record(fn, *inputs)
    made = Run(program, arithmetic)
    grads = made.gradients([None if own is None else arithmetic.lifted(array(own)) for own in upstream])
    return made.outputs, grads


def cases() -> list[tuple[str, str]]:
    named = {name for names in OPS.values() for name in names.split()}
    return [own for own in INFOS if own[0] in named and own not in WITHOUT_A_RULE]


@pytest.mark.filterwarnings("ignore:.*degrees of freedom is <= 0", "ignore:torch.(cholesky|qr) is deprecated")
@pytest.mark.parametrize(("name", "variant"), cases())
def test_values_and_gradients(name: str, variant: str) -> None:
    """The mathematics is torch's: in float64 the two differ by rounding alone."""
    for fn, given in samples(name, variant, torch.float64):
        inputs, upstream, expected = torch_gradients(fn, given)
        outputs, grads = run(fn, inputs, upstream, Plain())
        for got, due in zip([*outputs, *grads], [*fn(*inputs), *expected], strict=True):
            if due is not None:
                shown = np.zeros(due.shape) if got is None else got
                np.testing.assert_allclose(
                    shown, due.detach().numpy(force=True), rtol=KNOWN.get(name, 1e-8), atol=1e-9, equal_nan=True
                )


@pytest.mark.filterwarnings("ignore:.*degrees of freedom is <= 0", "ignore:torch.(cholesky|qr) is deprecated")
@pytest.mark.parametrize(("name", "variant"), cases())
def test_errors(name: str, variant: str) -> None:
    """torch's own results in float32 lie within the derived tolerance, which is not much wider than these errors."""
    sizes: dict[bool, list[Any]] = {True: [], False: []}
    for fn, given in samples(name, variant, torch.float32):
        inputs, upstream, expected = torch_gradients(fn, given)
        outputs, grads = run(fn, inputs, upstream, WithErrors(ErrorModel(np.dtype("float32"))))
        for place, (got, due) in enumerate(zip([*outputs, *grads], [*fn(*inputs), *expected], strict=True)):
            if due is None or got is None or not due.is_floating_point():
                continue
            finite = np.isfinite(got.value)
            sigma = got.sigma[finite]
            error = np.abs(due.detach().numpy(force=True).astype(np.float64)[finite] - got.value[finite])
            assert (error <= LAMBDA * sigma).all()
            rounds = (sigma > 0) & np.isfinite(sigma)
            sizes[place < len(outputs)].extend(error[rounds] / sigma[rounds])
    for z in sizes.values():
        assert len(z) < MANY or max(z) > LEAST or not any(z)  # some rules round where torch is exact


@pytest.mark.filterwarnings("ignore:.*degrees of freedom is <= 0", "ignore:torch.(cholesky|qr) is deprecated")
@pytest.mark.parametrize(
    ("family", "dtype"),  # float16 has bfloat16's kernels, and another range
    [
        *((own, torch.bfloat16) for own in OPS),
        *((own, torch.float16) for own in ("functions", "special", "losses", "activations")),
    ],
)
def test_torch_is_not_accused_in_16_bits(family: str, dtype: torch.dtype) -> None:
    """Each kernel that does not compute in float32 and round once is known as what it is."""
    for name, variant in cases():
        if name not in OPS[family].split() or dtype not in INFOS[name, variant].dtypes or name in GARBAGE_IN_16_BITS:
            continue
        for fn, given in samples(name, variant, dtype):
            try:
                inputs, upstream, due = torch_gradients(fn, given)
            except NotImplementedError:  # torch has the forward pass alone in this dtype
                continue
            outputs, grads = run(fn, inputs, upstream, WithErrors(ErrorModel(np.dtype("float32"))))
            for place, (made, got) in enumerate(zip([*outputs, *grads], [*fn(*inputs), *due], strict=True)):
                if isinstance(made, ErrorArray) and got is not None:
                    row = Row(name, str(got.dtype).removeprefix("torch."), 0, variant, "", str(place), LOCAL, PASS)
                    row = compare(row, array(got.detach() + 0), expected_of(made), structured=True, no_terms=False)
                    assert row.verdict not in DISCREPANCIES, row


@pytest.mark.parametrize("train", [True, False])
def test_a_dropped_infinity_is_nan(train: bool) -> None:
    """torch multiplies by the mask, and zero times infinity is NaN, forward and backward."""
    x = torch.tensor([torch.inf, 1.0, -2.0, torch.nan] * 8, dtype=torch.float64, requires_grad=True)
    upstream = x.detach().roll(1)

    def fn(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return torch.native_dropout(x, 0.5, train)[0]

    due = fn(x)
    (grad,) = torch.autograd.grad(due, x, upstream)
    (output,), (found,) = run(fn, [x], [upstream], Plain())
    np.testing.assert_array_equal(output, due.detach().numpy())
    np.testing.assert_array_equal(found, grad.numpy())
    assert np.isnan(output).sum() == (12 if train else 8)


UNUSUAL = torch.tensor(
    [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, torch.inf, -torch.inf, torch.nan], dtype=torch.float64
)
TIES = torch.tensor(
    [[2.0, 1.0, 2.0, 2.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 3.0, 0.0, 3.0, 5.0, 3.0]]
).double()
WITH_NAN = torch.where(torch.eye(3, 6, dtype=torch.bool), torch.nan, TIES)
ROWS: dict[str, Any] = {
    "cumprod": lambda x: torch.cumprod(x, 1),
    "logcumsumexp": lambda x: torch.logcumsumexp(x, 1),
    "cummax": lambda x: torch.cummax(x, 1)[0],
    "cummin": lambda x: torch.cummin(x, 1)[0],
    "median": lambda x: torch.median(x, 1)[0],
    "median of all": torch.median,
    "nanmedian": lambda x: torch.nanmedian(x, 1, keepdim=True)[0],
    "nanmedian of all": torch.nanmedian,
    "kthvalue": lambda x: torch.kthvalue(x, 4, 1)[0],
    "mode": lambda x: torch.mode(x, 1)[0],
    "amax": lambda x: torch.amax(x, 1),
    "max of all": torch.max,
    "min of all": torch.min,
    "aminmax": lambda x: torch.stack(torch.aminmax(x, dim=1)),
    "nansum": lambda x: torch.nansum(x, 1),
    "norm": lambda x: torch.linalg.vector_norm(x, torch.inf, 1),
    "safe softmax": lambda x: torch.ops.aten._safe_softmax(torch.where(x > 2, x, -torch.inf), 1),
}
# Without digamma and polygamma, of which torch's values are wrong there: reports/findings/torch-polygamma.md.
ELEMENTS = (
    *(torch.lgamma, torch.erfc, torch.erfinv, torch.sinc, torch.logit, torch.i0, torch.angle, torch.nan_to_num),
    *(torch.special.entr, torch.special.i0e, torch.special.i1, torch.special.i1e, torch.special.erfcx),
    *(torch.special.ndtri, torch.acosh, torch.abs, torch.sign, torch.special.log_ndtr),
)
PAIRS = (
    *(torch.fmax, torch.fmin, torch.copysign, torch.hypot, torch.logaddexp, torch.logaddexp2, torch.fmod),
    *(
        torch.nextafter,
        torch.special.xlog1py,
        torch.special.xlogy,
        torch.pow,
        torch.atan2,
        torch.maximum,
        torch.minimum,
    ),
)


def same_as_torch(fn: Any, *given: torch.Tensor) -> None:
    inputs, upstream, due = torch_gradients(lambda *own: [fn(*own)], list(given))
    outputs, grads = run(fn, inputs, upstream, Plain())
    for got, expected in zip([*outputs, *grads], [fn(*inputs), *due], strict=True):
        if expected is not None:
            shown = np.zeros(expected.shape) if got is None else got
            np.testing.assert_allclose(shown, expected.detach().numpy(), rtol=1e-8, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("given", [TIES, WITH_NAN], ids=["ties", "NaN"])
def test_ties_and_nan_are_torch_s(name: str, given: torch.Tensor) -> None:
    """Of equal elements the same one is chosen, or each receives the same share."""
    torch.manual_seed(0)
    if name in ("cumprod", "logcumsumexp") and given is WITH_NAN:
        pytest.skip("how far NaN spreads backwards depends on the order in which it is computed")
    same_as_torch(ROWS[name], given)


@pytest.mark.parametrize("fn", [*ELEMENTS, *PAIRS], ids=lambda own: own.__name__)
def test_unusual_numbers_are_torch_s(fn: Any) -> None:
    """Zeros, infinities, NaN and numbers outside of the domain: values and gradients."""
    torch.manual_seed(0)
    same_as_torch(fn, *([UNUSUAL] if fn in ELEMENTS else torch.meshgrid(UNUSUAL, UNUSUAL, indexing="ij")))


@pytest.mark.parametrize("fn", [torch.lgamma, torch.sinc, torch.logit, torch.digamma, lambda x: torch.cumprod(x, 1)])
def test_nothing_is_made_of_nothing(fn: Any) -> None:
    same_as_torch(fn, torch.zeros(0, 3, dtype=torch.float64))


def test_slopes_that_were_drawn_are_those_that_the_output_shows() -> None:
    """At zero, and at an infinity, any within the limits is right."""
    x = torch.tensor([2.0, -1.0, -3.0, 0.0, -torch.inf, torch.nan])

    def fn(x: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return torch.nn.functional.rrelu(x, 0.2, 0.4, training=True)

    inputs, upstream, (due,) = torch_gradients(lambda own: [fn(own)], [x])
    assert due is not None
    _, (grad,) = run(fn, inputs, upstream, WithErrors(ErrorModel(np.dtype("float32"))))
    assert (np.abs(due.numpy() - grad.value) <= LAMBDA * grad.sigma).all()
    assert grad.sigma[1] < 1e-6 < grad.sigma[3]


def test_a_rule_may_leave_out_the_last_results_of_an_operation() -> None:
    """The batch norm of a decomposed program returns new statistics beside the output; the rule makes the output."""
    torch.manual_seed(0)
    x, weight, bias = (torch.randn(size, dtype=torch.float64) for size in ((5, 3, 4), (3,), (3,)))
    mean, var = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)

    def fn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        made = torch.ops.aten._native_batch_norm_legit_functional(x, weight, bias, mean, var, True, 0.1, 1e-5)
        assert len(made) == 5
        output: torch.Tensor = made[0]
        return output

    inputs, upstream, due = torch_gradients(lambda *given: [fn(*given)], [x, weight, bias])
    outputs, grads = run(fn, inputs, upstream, Plain())
    for got, expected in zip([*outputs, *grads], [fn(*inputs), *due], strict=True):
        assert expected is not None
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-9, atol=1e-12)
