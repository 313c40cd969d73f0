"""A case survives JSON bit by bit and layout by layout, and a case file that is wrong ends in one sentence that says where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from oracle.case.arrays import array_from_json, array_to_json, cast, element_strides, laid_out
from oracle.case.case import Case, CaseError, Spec
from oracle.harness.run import load_cases
from oracle.suite import all_cases, named


def same(first: np.ndarray, second: np.ndarray) -> bool:
    return (
        first.dtype == second.dtype
        and np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
        and (first.size == 0 or element_strides(first) == element_strides(second))
    )


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.int64, np.bool_]),
        hnp.array_shapes(min_dims=0, max_dims=3, max_side=5),
    )
)
def test_arrays_survive_json(array: np.ndarray) -> None:
    """NaN, infinities, subnormals, -0.0, empty and 0-d arrays come back as they were."""
    back = array_from_json(json.loads(json.dumps(array_to_json(array), allow_nan=False)))
    assert back.shape == array.shape
    if array.size:
        assert same(back, array)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24.0).reshape(2, 3, 4).transpose(2, 0, 1),
        np.arange(12.0)[::-2],
        np.broadcast_to(np.arange(3.0), (4, 3)),
        np.asfortranarray(np.random.default_rng(0).standard_normal((30, 40))),
        np.arange(1000.0),
        np.zeros((0, 3)),
    ],
    ids=["transposed", "reversed", "broadcast", "fortran", "large", "empty"],
)
def test_layouts_survive_json_and_casts(array: np.ndarray) -> None:
    """The memory layout is part of the case."""
    back = array_from_json(json.loads(json.dumps(array_to_json(array))))
    np.testing.assert_array_equal(back, array)
    single = cast(array, "float32")
    assert single.dtype == np.float32
    if array.size:
        assert element_strides(back) == element_strides(array) == element_strides(single)


def test_laid_out_holds_the_values() -> None:
    """A layout with gaps and negative strides reads back what was put in."""
    values = np.arange(6.0).reshape(2, 3)
    made = laid_out(values, (-10, 3))
    np.testing.assert_array_equal(made, values)
    assert element_strides(made) == (-10, 3)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_case_in_16_bits_survives_json(dtype: str) -> None:
    """A shrunk case is kept in the dtype in which it fails."""
    case = named("lenet5/random").astype(dtype)
    again = Case.from_json(json.loads(json.dumps(case.to_json())))
    assert again.dtype == dtype
    for name, value in case.params.items():
        assert again.params[name].dtype == value.dtype and np.array_equal(again.params[name], value)


def test_every_case_of_the_suite_survives_json() -> None:
    """What the suite runs can be written down, sent and run elsewhere."""
    for name, case in all_cases().items():
        if case.name.startswith("digits"):  # megabytes of images, like the others but for their size
            continue
        back = Case.from_json(json.loads(json.dumps(case.to_json(), allow_nan=False)))
        assert back.to_json() == case.to_json(), name
        assert back.layers == tuple(normalised(spec) for spec in case.layers), name
        for key, value in case.params.items():
            assert same(back.params[key], value), name
        for mine, other in zip(case.inputs, back.inputs, strict=True):
            np.testing.assert_array_equal(mine, other)


def normalised(spec: Spec) -> Spec:
    return Spec(
        spec.type, dict(spec.options), spec.name, tuple(normalised(s) for s in spec.layers), spec.same_as, spec.groups
    )


def good() -> dict[str, Any]:
    return {
        "name": "mine",
        "layers": [{"type": "Linear", "options": {"in_features": 2, "out_features": 1}}],
        "params": {"0.weight": [[1.0, 2.0]], "0.bias": [0.5]},
        "inputs": [[[1.0, -1.0]]],
        "grad_outputs": [[[1.0]]],
    }


def broken(**changes: Any) -> dict[str, Any]:
    value = good() | changes
    return {key: item for key, item in value.items() if item is not None}


def packed(**changes: Any) -> dict[str, Any]:
    """An array as an object; None leaves a field out."""
    value = {"dtype": "float64", "shape": [1, 2], "data": [1.0, -1.0], "strides": [2, 1]} | changes
    return {key: item for key, item in value.items() if item is not None}


WRONG_FILES = {
    "[1]": "a JSON object",
    "{": "not JSON",
    json.dumps(broken(name=None)): "'name'",
    json.dumps(broken(layers=None)): "'layers'",
    json.dumps(broken(inputs=None)): "'inputs'",
    json.dumps(broken(grad_outputs=None)): "'grad_outputs'",
    json.dumps(broken(params=None)): "0.weight",
    json.dumps(
        broken(params={"0.weight": [[1.0]], "0.bias": [0.5]})
    ): r"0\.weight expects shape \(1, 2\), got \(1, 1\)",
    json.dumps(broken(inputs=[[[1.0, 2.0, 3.0]]])): r"\(1, 3\)",
    json.dumps(broken(grad_outputs=[[[1.0, 2.0]]])): r"\(1, 2\)",
    json.dumps(broken(inputs=[[["x"]]])): "got 'x'",
    json.dumps(broken(inputs=[[[1.0], [1.0, 2.0]]])): "equal lengths",
    json.dumps(broken(layers=[{"type": "Linaer"}])): "unknown type 'Linaer'",
    json.dumps(broken(layers=[{"type": "Linear"}])): "in_features",
    json.dumps(broken(layers=[{"type": "Linear", "in_features": 2}])): "under 'options'",
    json.dumps(broken(layers="Linear")): "layers",
    json.dumps(broken(dtype="float8")): "unknown dtype 'float8'",
    json.dumps(broken(loss={"type": "Nonsense"}, targets=[[[[1.0]]]])): "unknown loss 'Nonsense'",
    json.dumps(broken(loss={"type": "MSELoss"})): "'targets'",
    json.dumps(broken(optimizer={"type": "Nonsense"})): "unknown optimizer 'Nonsense'",
    json.dumps(broken(optimizer={"type": "SGD", "options": {"lr": -1}})): "SGD",
    json.dumps(broken(colour="red")): "unknown fields",
    json.dumps(broken(steps="two")): "steps expects int",
    json.dumps(broken(steps=0)): "steps",
    json.dumps(broken(format=99)): "format 99",
    json.dumps(broken(grads=[{"0.weight": [[1.0, 2.0]]}])): "'optimizer', to which its 'grads' are given",
    json.dumps(broken(layers=[{"type": 3}])): "an entry of layers needs the field 'type', a class name, got ",
    json.dumps(
        broken(layers=[{"type": "Linear", "options": [2, 1]}])
    ): "options of 'Linear' in layers expects an object",
    json.dumps(broken(params=[[1.0]])): "params expects an object of arrays by name, got list",
    json.dumps(broken(inputs=[None])): "a nested list of numbers or an object, got NoneType",
    json.dumps(broken(inputs=[packed(strides=None, data=None)])): "an array object needs 'data' or 'base64'",
    json.dumps(broken(inputs=[packed(data=[1.0, 2.0, 3.0])])): r"shape \[1, 2\] needs 2 elements, got 3",
    json.dumps(
        broken(inputs=[packed(strides="2, 1")])
    ): "strides are a list of whole numbers: a list of whole numbers is",
    json.dumps(broken(inputs=[packed(strides=[1])])): r"shape \[1, 2\] needs 2 strides, got 1",
    json.dumps(
        broken(inputs=[packed(strides=[1, 10**6])])
    ): "strides leave more than .* times its elements between them",
    json.dumps(broken(inputs=[packed(shape=[1] * 99, data=[1.0])])): "needs a known 'dtype' and a 'shape'",
}


@pytest.mark.parametrize("text", WRONG_FILES, ids=list(range(len(WRONG_FILES))))
def test_a_wrong_case_file_ends_in_a_sentence(text: str, tmp_path: Path) -> None:
    """Which file, what was expected and what came; never another exception."""
    path = tmp_path / "case.json"
    path.write_text(text)
    with pytest.raises(CaseError, match=WRONG_FILES[text]) as raised:
        load_cases(str(path))
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_case_file_ends_in_a_sentence(tmp_path: Path) -> None:
    """A path that is not there is named."""
    with pytest.raises(CaseError, match=r"nowhere\.json cannot be read"):
        load_cases(str(tmp_path / "nowhere.json"))


def test_a_right_case_file_loads(tmp_path: Path) -> None:
    """The twin of the tests above: what they break was right before."""
    path = tmp_path / "case.json"
    path.write_text(json.dumps(good()))
    assert load_cases(str(path))[0].name == "mine"
    path.write_text(json.dumps(broken(inputs=[packed(strides=[4, 2])])))
    (case,) = load_cases(str(path))
    assert case.inputs[0].tolist() == [[1.0, -1.0]] and element_strides(case.inputs[0]) == (4, 2)
