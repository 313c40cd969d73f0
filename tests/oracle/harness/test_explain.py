"""`oracle.explain`: a step can be checked by hand from what it prints, and shows itself in every form."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from html.parser import HTMLParser

import numpy as np
import pytest

import oracle
from oracle.execution.network import LAYERS
from oracle.execution.walk import BACKWARD, EQUATIONS, FORWARD, GIVEN, LOSS, UPDATE, Section
from oracle.report.network_drawing import Weights, edges
from oracle.report.walk import Walk


@pytest.fixture(scope="module")
def example() -> Walk:
    return oracle.explain("worked-example/decay")


def array(section: Section) -> np.ndarray:
    return np.array([line.value for line in section.lines]).reshape(section.shape)


def of(walk: Walk, stage: str, place: str, symbol: str) -> np.ndarray:
    return array(next(s for s in walk.sections if (s.stage, s.place, s.symbol) == (stage, place, symbol)))


def test_every_line_follows_from_the_given_ones(example: Walk) -> None:
    """By hand, from the printed numbers alone: z, n, the output's error term, its weights' gradient, the update with decay."""

    def sigmoid(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    n = of(example, GIVEN, "input", "x")
    for layer, activation in (("hidden1", "sigmoid1"), ("hidden2", "sigmoid2"), ("output", "sigmoid3")):
        before = n
        z = n @ of(example, GIVEN, f"{layer}.weight", "weight").T + of(example, GIVEN, f"{layer}.bias", "bias")
        np.testing.assert_allclose(of(example, FORWARD, f"{layer} (Linear)", "z"), z, rtol=1e-14)
        n = sigmoid(z)
        np.testing.assert_allclose(of(example, FORWARD, f"{activation} (Sigmoid)", "n"), n, rtol=1e-14)
    delta = 2 * (n - of(example, GIVEN, "target", "t")) * n * (1 - n)
    np.testing.assert_allclose(of(example, BACKWARD, "output (Linear)", "δ"), delta, rtol=1e-13)
    gradient = delta.T @ before
    np.testing.assert_allclose(of(example, BACKWARD, "output (Linear)", "∂weight"), gradient, rtol=1e-13)
    weight = of(example, GIVEN, "output.weight", "weight")
    said = [section.what for section in example.sections if section.place == "update (SGD)"]
    assert "lr = 0.5, weight_decay = 1.0 of hidden1.weight, hidden2.weight, output.weight" in said
    np.testing.assert_allclose(
        of(example, UPDATE, "output.weight", "weight"), weight - 0.5 * (gradient + weight), rtol=1e-13
    )


def test_a_convolution_is_walked_by_its_own_equations() -> None:
    """Not by those of a linear layer: (7) forward, (8) for the kernel, (9) for the input; a pooling by its window."""
    said: dict[str, list[str]] = defaultdict(list)
    for section in oracle.explain("lenet5/random").sections:
        said[section.place].append(section.what)
    conv, pool = " ".join(said["conv2 (Conv2d)"]), " ".join(said["pool1 (AvgPool2d)"])
    assert all(equation in conv for equation in ("eq. (7)", "eq. (8)", "eq. (9)")) and "eq. (5)" not in conv
    assert "spreads its gradient evenly" in pool and "eq." not in pool


def test_a_walk_begins_with_what_is_given_and_shows_the_loss() -> None:
    """Without a loss the upstream gradient is given."""
    stages = [
        (own.stage, own.place)
        for own in oracle.explain("linear/Linear,in_features=3,out_features=4,bias=True,batch=5").sections
    ]
    assert (GIVEN, "upstream gradient") in stages
    assert (LOSS, "loss (MSELoss)") in [
        (own.stage, own.place) for own in oracle.explain("worked-example/plain").sections
    ]


def test_a_later_step_starts_from_what_the_one_before_left() -> None:
    second = oracle.explain("lenet5/random", step=1)
    first = oracle.explain("lenet5/random")
    np.testing.assert_array_equal(of(second, GIVEN, "fc2.bias", "bias"), of(first, UPDATE, "fc2.bias", "bias"))


def test_all_numbers_can_be_asked_for() -> None:
    few, every = oracle.explain("lenet5/random"), oracle.explain("lenet5/random", every=True)
    assert any(section.left_out for section in few.sections) and "more (--all shows them)" in str(few)
    assert not any(section.left_out for section in every.sections)
    assert all(len(section.lines) == np.prod(section.shape) for section in every.sections if section.symbol)


def test_json_holds_all_of_it(example: Walk) -> None:
    read = json.loads(example.to_json())
    assert read["case"] == "worked-example/decay" and len(read["sections"]) == len(example.sections)
    (x,) = [section for section in read["sections"] if section["place"] == "input"]
    assert [line["value"] for line in x["lines"]] == [0.05, 0.1]


def test_what_is_not_finite_is_spelled_in_json() -> None:
    """JSON has no NaN: a strict reader would refuse the whole of it."""
    case = oracle.Case("a/nan", layers=(oracle.Spec("ReLU"),), inputs=(np.array([np.nan, np.inf]),))
    text = oracle.explain(case).to_json()
    values = [line["value"] for line in json.loads(text, parse_constant=pytest.fail)["sections"][0]["lines"]]
    assert values == ["nan", "inf"]


def test_markdown_has_a_table_for_each_quantity(example: Walk) -> None:
    text = example.to_markdown()
    assert text.startswith("# worked-example/decay\n") and "## Given" in text and "## Update" in text
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert len(rows) == sum(len(section.lines) for section in example.sections)


class Texts(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_notebook_shows_the_network_with_its_numbers(example: Walk) -> None:
    """A circle per neuron of input, three linear layers and their sigmoids, and the loss; a line per weight with its gradient."""
    page = Texts()
    page.feed(example._repr_html_())
    assert page.tags.count("circle") == 2 + 2 * (3 + 2 + 1) + 1
    weights = [text for text in page.texts if re.fullmatch(r"w\[\d, \d\] = .*, ∂L/∂w = .*", text)]
    assert len(weights) == 2 * 3 + 3 * 2 + 2
    assert "0.532" in page.texts  # the first hidden neuron


def test_a_case_cannot_put_anything_into_the_page() -> None:
    case = oracle.Case("a/<script>alert(1)</script>", layers=(oracle.Spec("ReLU", name="<b>"),), inputs=(np.ones(2),))
    assert "<script>" not in oracle.explain(case).to_html() and "<b>" not in oracle.explain(case).to_html()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"step": 1}, "has steps 0 to 0, got step 1"),
        ({"dtype": "int8"}, "unknown dtype"),
        ({"subject": "nobody"}, "unknown subject"),
    ],
)
def test_what_cannot_be_walked_is_said(options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        oracle.explain("worked-example/plain", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"explain expects the name of a case or an oracle\.Case, got int"):
        oracle.explain(3)  # type: ignore[arg-type]


def test_every_kind_of_layer_with_equations_is_there() -> None:
    """A start of a name that fits no class would be dead."""
    assert all(any(name.startswith(start) for name in LAYERS) for start in EQUATIONS)


def test_no_line_crosses_the_number_of_a_weight() -> None:
    """Numbers are drawn after all lines of their layer."""
    drawn = str(edges(Weights({(to, origin): 0.5 for to in range(3) for origin in range(2)}, {}), 1, 2, 3, 3))
    assert drawn.count("<line") == drawn.count("<text") == 6 and drawn.rindex("<line") < drawn.index("<text")


def test_it_shows_where_digits_are_lost() -> None:
    """The tolerance of the whole way to a quantity, relative to its terms: small where the layer before cancels."""
    rng = np.random.default_rng(0)
    layers = (oracle.Spec("Linear", {"in_features": 3, "out_features": 4}), oracle.Spec("Tanhshrink"))
    params = {"0.weight": rng.standard_normal((4, 3)) * 0.01, "0.bias": np.zeros(4)}
    case = oracle.Case(
        "cancels",
        layers=layers,
        params=params,
        inputs=(rng.standard_normal((5, 3)),),
        grad_outputs=(np.ones((5, 4)),),
    )
    for dtype, digits in (("float64", 15.95), ("float32", 7.2)):
        walk = oracle.explain(case, dtype=dtype)
        left = {(section.stage, section.place.split(" ")[0]): section.digits for section in walk.sections}
        assert left[GIVEN, "input"] is None
        product, difference = left[FORWARD, "0"], left[FORWARD, "1"]
        assert product is not None and difference is not None
        assert digits - 2 < product < digits
        assert difference < product - 3  # x - tanh x is x³/3, with x of about 0.01
        assert f"({difference:.1f} digits left)" in str(walk) and f"({difference:.1f} digits left)" in walk.to_html()
