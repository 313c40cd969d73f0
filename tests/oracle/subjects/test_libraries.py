"""Each library that has an adapter is really run: what it can do conforms, and what it gets wrong is what is written up."""

from __future__ import annotations

import builtins
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import oracle
from oracle import subjects, suite
from oracle.case.case import Case, Spec
from oracle.cli import main
from oracle.execution.network import Network, upstream_shape
from oracle.judging.rows import CONVENTION, DISCREPANCIES, PASS, UNSUPPORTED
from oracle.scoreboard.written import WRITTEN, page_of
from oracle.subjects import BUILT_IN, libraries
from oracle.subjects import refbp as refbp_subject
from oracle.trace import Key, Trace

from ...programs import program
from .. import planted

PAGES = {page.stem for page in (Path(__file__).parents[3] / "reports" / "findings").glob("*.md")}
EVERYWHERE = (
    "worked-example/plain",
    "activation/Tanh",
    "linear/*",
    "optimizer/SGD,momentum=0,*",
    "mlp/ReLU+CrossEntropyLoss",
)


class Part(NamedTuple):
    """Patterns, of each of which two cases are run; the pages about all that is found in them; a case that is unsupported."""

    patterns: tuple[str, ...]
    pages: frozenset[str]
    lacks: str


PARTS = {
    "jax": Part(
        (
            "worked-example/plain",
            "activation/ELU,large",
            "activation/Softplus,large",
            "conv/Conv2d*",
            "optimizer/Adam*",
        ),
        frozenset(),
        "optimizer/Adagrad,groups",
    ),
    "mygrad": Part(
        (
            *EVERYWHERE,
            "conv/Conv2d*",
            "conv/Conv3d,dilation=2",
            "pool/MaxPool2d*",
            "norm/BatchNorm2d*",
            "kink/LeakyReLU",
            "activation/ELU,large",
        ),
        frozenset({"mygrad-float64", "mygrad-dilation"}),
        "lenet5/random",
    ),
    "autograd": Part(
        (
            *EVERYWHERE,
            "conv/Conv2d*",
            "norm/LayerNorm*",
            "kink/ReLU",
            "nonfinite/Softplus",
            "optimizer/SGD,momentum+damp*",
            "optimizer/SGD,dampening=*",
            "network/frozen",
        ),
        frozenset({"autograd-logaddexp-infinity"}),
        "lenet5/random",
    ),
    "mlx": Part(
        (
            *EVERYWHERE,
            "pool/MaxPool2d*",
            "kink/CELU",
            "loss/CrossEntropyLoss*",
            "conv/ConvTranspose1d,*output_padding=1*",
            "conv/ConvTranspose2d,stride=2,padding=2x1,output_padding=1*",
            "value/BCEWithLogitsLoss*",
        ),
        frozenset({"mlx-float64", "mlx-equal-sides", "mlx-conv-transpose-output-padding", "mlx-logaddexp"}),
        "conv/Conv3d,depthwise",
    ),
    "tinygrad": Part(
        (
            "worked-example/plain",
            "activation/Tanh",
            "activation/GELU*",
            "activation/ELU,tiny",
            "nonfinite/CELU",
            "linear/*",
            "loss/CrossEntropyLoss*",
            "optimizer/Adam,*",
        ),
        frozenset({"tinygrad-tanh", "tinygrad-elu", "tinygrad-erf", "adam-correction-float32"}),
        "optimizer/RMSprop,groups",
    ),
    "sklearn": Part(
        ("mlp/Tanh*", "mlp/ReLU*", "mlp/ReLU+NLL*", "mlp/Sigmoid+BCE*", "exact/*Loss*", "optimizer/*"),
        frozenset({"sklearn-several-outputs"}),
        "worked-example/plain",
    ),
}


def compiler(subject: str) -> None:
    """tinygrad's numbers are those of clang's kernels: without it its emulator runs, which has others."""
    if subject == "tinygrad":
        program("clang")


def judged(subject: str) -> oracle.Report:
    compiler(subject)
    cases = {case.name: case for pattern in PARTS[subject].patterns for case in list(suite.matching(pattern))[:2]}
    return oracle.run(subject, cases=list(cases.values()))


@pytest.mark.parametrize("subject", PARTS)
def test_a_part_of_the_suite_comes_out_as_written_up(subject: str) -> None:
    """Each culprit has a page, and each page a culprit. A fault of the adapter itself would have no page."""
    report = judged(subject)
    told = {str(culprit): page_of(subject, culprit) for culprit in report.blame}
    assert [culprit for culprit, page in told.items() if not page] == []
    assert set(told.values()) == PARTS[subject].pages
    passed = report.cases[~report.cases["verdict"].isin([*DISCREPANCIES, UNSUPPORTED])]
    assert {"float64", "float32"} <= set(passed["dtype"]) or subject == "mlx"
    assert len(passed) >= 5


def one_of_each() -> list[Case]:
    """For each class of layer, loss and optimizer the first case that is about it."""
    first: dict[str, Case] = {}
    for case in suite.all_cases().values():
        kinds = [spec.type for spec in (*case.layers, case.loss, case.optimizer) if spec is not None]
        if len(kinds) == 1 or case.name.startswith(("loss/", "optimizer/")):
            first.setdefault(kinds[-1], case)
    return list(first.values())


SLOW = ("jax", "tinygrad")  # they compile each op
# How many of these cases each library is right about; of the slow ones every third case is run.
RIGHT = {"jax": 26, "mygrad": 26, "autograd": 44, "mlx": 79, "tinygrad": 25, "sklearn": 2}


@pytest.mark.parametrize("subject", [pytest.param(own, marks=[pytest.mark.slow] * (own in SLOW)) for own in PARTS])
def test_every_class_is_right_or_written_up(subject: str) -> None:
    """The ops of an adapter are run, and no class is lost from it unnoticed. `oracle scoreboard` runs the whole suite."""
    compiler(subject)
    report = oracle.run(subject, cases=one_of_each()[:: 3 if subject in SLOW else 1], dtypes=("float32",))
    assert [str(culprit) for culprit in report.blame if not page_of(subject, culprit)] == []
    assert (report.cases["verdict"] == PASS).sum() >= RIGHT[subject]


@pytest.mark.parametrize("subject", PARTS)
def test_what_a_library_lacks_is_unsupported(subject: str) -> None:
    """One row that says in words what is lacking; nobody is blamed."""
    report = oracle.run(subject, cases=[suite.named(PARTS[subject].lacks)])
    assert list(report.table["verdict"]) == [UNSUPPORTED] * 2 and not report.blame
    assert all(report.table["diagnosis"].str.len() > 10)


def test_every_built_in_library_is_tried_here() -> None:
    """An adapter that nobody runs is a guess."""
    assert set(PARTS) | {"refbp", "torch"} == set(BUILT_IN)


def test_every_written_error_has_its_page_and_is_of_an_adapter() -> None:
    """The pages to which the scoreboard points exist."""
    assert {written.page for written in WRITTEN} <= PAGES
    assert {subject for written in WRITTEN for subject in written.subjects} <= set(BUILT_IN)


@pytest.mark.parametrize("subject", PARTS)
def test_a_library_that_is_not_installed_is_one_sentence(
    subject: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the extra that brings it, and the exit status is that of unusable arguments."""
    distribution, *_ = libraries.DISTRIBUTIONS[subject]
    package = {"scikit-learn": "sklearn"}.get(distribution, distribution)
    found, imported = metadata.version, builtins.__import__

    def version(name: str) -> str:
        if name == distribution:
            raise metadata.PackageNotFoundError(name)
        return found(name)

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == package or name.startswith(f"{package}."):
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        return imported(name, *rest, **more)

    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.delitem(sys.modules, f"oracle.subjects.{subject}", raising=False)
    assert main(["run", "--subject", subject, "--cases", "worked-example/plain", "--out", "/nowhere-needed"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("oracle: ") and f"pip install 'refbp[{subject}]'" in said and "Traceback" not in said
    assert main(["list", "subjects"]) == 0
    assert f"{subject}  not installed: pip install 'refbp[{subject}]'" in capsys.readouterr().out


ANOTHER_RULE = {
    ("mlx", "activation/SELU"): "selu_in_six_digits",
    ("mlx", "activation/Hardswish,large"): "hardswish_as_product",
    ("mlx", "loss/GaussianNLLLoss,reduction=none,full=True,eps=0.5,shape=5x4"): "clamped_variance",
    (
        "mlx",
        "loss/CrossEntropyLoss,reduction=none,weight=None,label_smoothing=0.0,shape=2x4x3,probabilities",
    ): "probabilities_on_the_simplex",
    ("jax", "kink/Softplus"): "softplus_uncut",
    ("mygrad", "kink/LeakyReLU"): "nothing_at_equality",
    ("autograd", "nonfinite/ReLU6"): "anything_at_nan",
    (
        "sklearn",
        "optimizer/Adam,betas=0.9x0.999,eps=1e-08,amsgrad=False,weight_decay=0,maximize=False,lr=0.1",
    ): "adam_epsilon_uncorrected",
}


@pytest.mark.parametrize("subject, case", ANOTHER_RULE)
def test_another_rule_is_a_convention_and_only_where_it_is_declared(subject: str, case: str) -> None:
    """Rows that differ by it say so; refbp with the same case follows torch, so that the rule is seen to make a difference."""
    report = oracle.run(subject, cases=[suite.named(case)])
    marked = report.table[report.table["verdict"] == CONVENTION]
    assert marked["diagnosis"].str.startswith(ANOTHER_RULE[subject, case]).any()
    plain = oracle.run("refbp", cases=[suite.named(case)]).table
    assert not plain["diagnosis"].str.startswith(ANOTHER_RULE[subject, case]).any()


def layer_case(type: str, options: dict[str, Any], x: np.ndarray[Any, Any], **more: Any) -> Case:
    case = Case("given", layers=(Spec(type, options),), inputs=(x,), **more)
    params = {f"0.{short}": own[short] for _, own, short, _ in Network(case).state()}
    case = replace(case, params=params)
    return case.with_upstream(np.random.default_rng(0).standard_normal(upstream_shape(case)))


@pytest.mark.parametrize(
    "case, several",
    [
        (layer_case("PReLU", {}, np.array(-0.7)), ("autograd", "mygrad", "mlx")),
        (layer_case("Linear", {"in_features": 3, "out_features": 2}, np.eye(3)[:, ::-1]), ("mlx",)),
        (layer_case("BatchNorm2d", {"num_features": 2}, np.zeros((0, 2, 3, 4))), ("autograd", "jax")),
    ],
    ids=("a single number", "memory in reverse", "no samples"),
)
def test_an_adapter_makes_no_error_of_its_own(case: Case, several: tuple[str, ...]) -> None:
    """Random cases blamed libraries for what their adapters did: a shape added to a single number, memory that the library does
    not take, and statistics of nothing."""
    for subject in several:
        assert oracle.run(subject, cases=[case], dtypes=("float32",)).passed


def test_the_largest_score_has_no_derivative_in_a_softmax() -> None:
    """It is subtracted for the range alone. Its derivative is zero, and adding up what rounding leaves of it loses digits."""
    rng = np.random.default_rng(0)
    case = layer_case("Softmax", {"dim": 1}, rng.uniform(-1, 1, (4, 129, 5)))
    assert oracle.run("autograd", cases=[case], dtypes=("float64",)).passed


def test_a_library_may_take_subnormal_numbers_for_zero() -> None:
    """JAX documents that it does. It is a convention, and nothing beside it is one: a normal number is not taken for zero."""
    tiny = layer_case("ReflectionPad2d", {"padding": 1}, np.array([[[2e-39, 1.0], [3e-39, 2.0]]]))
    report = oracle.run("jax", cases=[tiny], dtypes=("float32",))
    said = report.table.set_index(["mode", "quantity"])["diagnosis"]
    assert report.passed and said["local", "output"].startswith("subnormals_as_zero")

    def without(case: Case) -> Trace:
        trace = refbp_subject.run(case)
        for key in trace:
            trace.arrays[key] = np.where(np.abs(trace.arrays[key]) < 1e-3, 0, trace.arrays[key]).astype(case.dtype)
        return trace

    class Flushing(planted.Planted):
        profile = oracle.Profile(conventions=("subnormals_as_zero",))

    small = layer_case("ReflectionPad2d", {"padding": 1}, np.array([[[2e-5, 1.0], [3e-39, 2.0]]]))
    assert not oracle.run(Flushing(without), cases=[small], dtypes=("float32",)).passed


@pytest.mark.parametrize("subject", ("autograd", "mygrad"))
def test_a_library_on_numpy_warns_of_no_nan(subject: str) -> None:
    """The mean of an empty loss is NaN, a result like any other: no warning reaches the terminal (here it would be an error)."""
    case = suite.named("batch/MSELoss,reduction=mean,batch=0").astype("float64")
    assert np.isnan(subjects.load(subject).run(case).arrays[Key(0, "loss", "output")])


def test_jax_keeps_nothing_that_it_compiled() -> None:
    """What JAX compiles for a case takes some 20 MB, and hundreds of cases took the memory of the machine."""
    jax = pytest.importorskip("jax")
    compiled = jax.jit(lambda x: 2 * x)
    compiled(1.0)
    assert compiled._cache_size() == 1
    subjects.load("jax").run(suite.named("activation/Tanh").astype("float32"))
    assert compiled._cache_size() == 0
