"""The checker can fail: bugs planted in refbp, each of which must be found, at the right layer and quantity.

refbp's code is also what the tolerances come from, so these are planted where a maintainer would plant them by mistake: in
the code itself, not in a copy.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import oracle
import refbp.activations
import refbp.avg_pooling
import refbp.classification_losses
import refbp.columns
import refbp.conv
import refbp.dropout
import refbp.layer
import refbp.linear
import refbp.piecewise
import refbp.regression_losses
import refbp.softmax
import refbp.update_rules
from oracle.cli import main
from oracle.selftest.bugs.convolution import overwritten

Op = Callable[..., Any]


@dataclass(frozen=True)
class Bug:
    """A change to `module.function`; `cases` is where it shows, `layer` and `quantity` what has to be blamed."""

    name: str
    module: Any
    function: str
    change: Callable[[Op], Op]
    cases: str
    layer: str
    quantity: str


def gradients(change: Callable[[Any, Any], Any]) -> Callable[[Op], Op]:
    """Replace what an op's backward returns by change(gradients, grad_output)."""

    def planted(op: Op) -> Op:
        def wrong(*args: Any, **kwargs: Any) -> Any:
            output, backward = op(*args, **kwargs)
            return output, lambda grad_output=1.0: change(backward(grad_output), grad_output)

        return wrong

    return planted


def nth(position: int, change: Callable[[Any], Any]) -> Callable[[Op], Op]:
    """Change one of the gradients that an op's backward returns."""
    return gradients(lambda grads, _: tuple(change(g) if i == position else g for i, g in enumerate(grads)))


def arguments(**changed: Any) -> Callable[[Op], Op]:
    """Call the function with some arguments replaced."""
    return lambda op: lambda *args, **kwargs: op(*args, **{**kwargs, **changed})


def flipped(op: Op) -> Op:
    return lambda delta, weight, size, g: op(delta, np.flip(weight, (2, 3)), size, g)


def stride_and_dilation_swapped(op: Op) -> Op:
    return lambda result, grads, kernel, stride, dilation, first: op(result, grads, kernel, dilation, stride, first)


def one_element_off(grad: Any) -> Any:
    result = grad.copy()
    place = (0,) * grad.ndim
    result[place] = result[place] * 1.001
    return result


def nesterov_without_the_gradient(op: Op) -> Op:
    """The momentum is applied twice, instead of once beside the gradient."""

    def wrong(param: Any, grad: Any, buffer: Any = None, *, nesterov: bool = False, **options: Any) -> Any:
        new, buffer = op(param, grad, buffer, nesterov=False, **options)
        if nesterov:
            new = param - options["lr"] * options["momentum"] * buffer
        return new, buffer

    return wrong


def decay_after_momentum(op: Op) -> Op:
    def wrong(param: Any, grad: Any, buffer: Any = None, *, weight_decay: float = 0.0, **options: Any) -> Any:
        new, buffer = op(param, grad, buffer, weight_decay=0.0, **options)
        return new - options["lr"] * weight_decay * param, buffer

    return wrong


def dampened_first_step(op: Op) -> Op:
    return lambda param, grad, buffer=None, **options: op(
        param, grad, grad * 0.0 if buffer is None else buffer, **options
    )


def rate_inside_the_buffer(op: Op) -> Op:
    def wrong(param: Any, grad: Any, buffer: Any = None, *, lr: float, **options: Any) -> Any:
        new, buffer = op(param, lr * grad, buffer, lr=1.0, **options)
        return new, buffer

    return wrong


def ignores(option: str, value: Any) -> Callable[[Op], Op]:
    """The value honours the option, the backward does not."""

    def planted(op: Op) -> Op:
        def wrong(*args: Any, **kwargs: Any) -> Any:
            value_, _ = op(*args, **kwargs)
            _, backward = op(*args, **{**kwargs, option: value})
            return value_, backward

        return wrong

    return planted


def mean_not_divided(op: Op) -> Op:
    """1/N is forgotten in the backward."""

    def wrong(terms: Any, gradients: Any, arguments: Any, reduction: str, divisor: Any = None) -> Any:
        value, _ = op(terms, gradients, arguments, reduction, divisor)
        _, backward = op(terms, gradients, arguments, "sum" if reduction == "mean" else reduction, divisor)
        return value, backward

    return wrong


def weight_lost(op: Op) -> Op:
    """The value is weighted, the gradient is not."""

    def wrong(name: str, input: Any, target: Any, weight: Any, *rest: Any) -> Any:
        return op(name, input, target, weight, *rest)[0], op(name, input, target, None, *rest)[1]

    return wrong


def divisor_counts_padding(op: Op) -> Op:
    return lambda g, count_include_pad, divisor_override: op(g, True, divisor_override)


def not_zeroed(op: Op) -> Op:
    return lambda self: None


LINEAR, CONV = "linear/Linear,in_features=3,out_features=4,bias=True,batch=5", "layout/Conv2d,transposed"
BUGS = [
    Bug("conv: kernel not turned", refbp.conv, "spread", flipped, CONV, "0", "grad_input"),
    Bug("conv: windows overwritten", refbp.columns, "add_windows", overwritten, "exact/Conv2d", "0", "grad_input"),
    Bug(
        "conv: stride and dilation swapped",
        refbp.columns,
        "add_windows",
        stride_and_dilation_swapped,
        CONV,
        "0",
        "grad_input",
    ),
    Bug(
        "conv: groups permuted",
        refbp.conv,
        "per_group",
        lambda op: lambda weight, groups: np.flip(op(weight, groups), 0),
        "exact/Conv2d,groups",
        "0",
        "output",
    ),
    Bug(
        "conv: weight gradient turned",
        refbp.conv,
        "weight_gradient",
        lambda op: lambda *args: np.flip(op(*args), (2, 3)),
        CONV,
        "0",
        "grad.weight",
    ),
    Bug(
        "conv: bias gradient not summed over positions",
        refbp.conv,
        "bias_gradient",
        lambda op: lambda delta: np.sum(delta[:, :, 0, 0], axis=0),
        CONV,
        "0",
        "grad.bias",
    ),
    Bug("linear: bias gradient averaged", refbp.linear, "linear", nth(2, lambda g: g / 5.0), LINEAR, "0", "grad.bias"),
    Bug(
        "linear: weight gradient of one sample",
        refbp.linear,
        "linear",
        nth(1, lambda g: g * 0.0),
        LINEAR,
        "0",
        "grad.weight",
    ),
    Bug(
        "linear: one element off by 0.1 %", refbp.linear, "linear", nth(1, one_element_off), LINEAR, "0", "grad.weight"
    ),
    Bug(
        "linear: input gradient negated",
        refbp.linear,
        "linear",
        nth(0, lambda g: -g),
        "worked-example/plain",
        "output",
        "grad_input",
    ),
    Bug(
        "sigmoid: derivative omitted",
        refbp.activations.Sigmoid,
        "function",
        gradients(lambda _, g: g),
        "worked-example/plain",
        "sigmoid3",
        "grad_input",
    ),
    Bug(
        "tanh: derivative omitted",
        refbp.activations.Tanh,
        "function",
        gradients(lambda _, g: g),
        "lenet5/random",
        "act3",
        "grad_input",
    ),
    Bug(
        "relu: passes everything",
        refbp.piecewise.ReLU,
        "function",
        gradients(lambda _, g: g),
        "kink/ReLU",
        "0",
        "grad_input",
    ),
    Bug(
        "softmax: elements not coupled",
        refbp.softmax.Softmax,
        "function",
        gradients(lambda _, g: g),
        "activation/Softmax,dim=1",
        "0",
        "grad_input",
    ),
    Bug(
        "dropout: scale lost",
        refbp.dropout,
        "dropout",
        gradients(lambda g, _: g * 0.5),
        "dropout/Dropout,p=0.5",
        "0",
        "grad_input",
    ),
    Bug(
        "pool: divisor counts padding",
        refbp.avg_pooling,
        "_divisors",
        divisor_counts_padding,
        "pool/AvgPool2d*count_include_pad=False*",
        "0",
        "output",
    ),
    Bug(
        "mse: 1/N forgotten", refbp.regression_losses, "reduced", mean_not_divided, "mlp/Tanh+MSE", "loss", "grad_input"
    ),
    Bug(
        "mse: factor 2 forgotten",
        refbp.regression_losses,
        "mse_loss",
        nth(0, lambda g: g * 0.5),
        "mlp/Tanh+MSE",
        "loss",
        "grad_input",
    ),
    Bug(
        "loss: 1/N forgotten",
        refbp.classification_losses,
        "reduced",
        mean_not_divided,
        "mlp/Tanh+Cross",
        "loss",
        "grad_input",
    ),
    Bug(
        "cross entropy: smoothing lost",
        refbp.classification_losses,
        "cross_entropy",
        ignores("label_smoothing", 0.0),
        "loss/CrossEntropyLoss*label_smoothing=0.1,shape=6x4",
        "loss",
        "grad_input",
    ),
    Bug(
        "nll: weight lost",
        refbp.classification_losses,
        "_indexed_loss",
        weight_lost,
        "loss/NLLLoss,reduction=mean,weight=given*shape=6x4",
        "loss",
        "grad_input",
    ),
    Bug(
        "bce: pos_weight lost",
        refbp.classification_losses,
        "binary_cross_entropy_with_logits",
        ignores("pos_weight", None),
        "loss/BCEWithLogitsLoss*pos_weight=given*",
        "loss",
        "grad_input",
    ),
    Bug(
        "sgd: nesterov's order",
        refbp.update_rules.SGD,
        "rule",
        nesterov_without_the_gradient,
        "optimizer/SGD,momentum+nesterov",
        "0",
        "param.weight",
    ),
    Bug(
        "sgd: decay after momentum",
        refbp.update_rules.SGD,
        "rule",
        decay_after_momentum,
        "optimizer/SGD,momentum+nesterov",
        "0",
        "momentum.weight",
    ),
    Bug(
        "sgd: first step dampened",
        refbp.update_rules.SGD,
        "rule",
        dampened_first_step,
        "optimizer/SGD,momentum+dampening",
        "0",
        "momentum.weight",
    ),
    Bug(
        "sgd: rate inside the buffer",
        refbp.update_rules.SGD,
        "rule",
        rate_inside_the_buffer,
        "mlp/Tanh+MSE",
        "0",
        "momentum.weight",
    ),
    Bug(
        "sgd: maximize ignored",
        refbp.update_rules.SGD,
        "rule",
        arguments(maximize=False),
        "optimizer/SGD,momentum+dampening",
        "0",
        "momentum.weight",
    ),
    Bug(
        "sgd: decay ignored",
        refbp.update_rules.SGD,
        "rule",
        arguments(weight_decay=0.0),
        "worked-example/decay",
        "hidden1",
        "param.weight",
    ),
    Bug("engine: gradients not zeroed", refbp.layer.Layer, "zero_grad", not_zeroed, "mlp/Tanh+MSE", "4", "grad.weight"),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found_and_placed(bug: Bug, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found, with the layer and the quantity that it sits in blamed first; and nothing was found before it was planted."""
    before = oracle.run(cases=bug.cases, dtypes=(dtype,))
    assert before.passed, before.blame
    wrong: Any = bug.change(getattr(bug.module, bug.function))
    if isinstance(inspect.getattr_static(bug.module, bug.function), staticmethod):
        wrong = staticmethod(wrong)
    monkeypatch.setattr(bug.module, bug.function, wrong)
    report = oracle.run(cases=bug.cases, dtypes=(dtype,))
    assert not report.passed
    assert (report.blame[0].layer, report.blame[0].quantity) == (bug.layer, bug.quantity), report.blame[0]
    with pytest.raises(oracle.Discrepancy, match=bug.quantity):
        report.raise_for_discrepancy()


def test_the_command_line_exits_with_1_and_names_the_culprit(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output that a user sees for a kernel that is not turned by 180 degrees."""
    monkeypatch.setattr(refbp.conv, "spread", flipped(refbp.conv.spread))
    assert main(["run", "--cases", "lenet5", "--dtype", "float32", "--out", str(tmp_path)]) == 1
    shown = capsys.readouterr().out
    assert "lenet5/random/conv2 (Conv2d) grad_input wrong" in shown
    assert "reproduce: oracle run --cases lenet5/random --dtype float32 --subject refbp" in shown
