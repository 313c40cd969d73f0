"""Who is blamed for what, and how it is said."""

from __future__ import annotations

from dataclasses import replace

from oracle.blame.blame import Blame, blame
from oracle.judging.rows import END_TO_END, LOCAL, PASS, UNDECIDED, WRONG, Row


def row(layer: str, quantity: str, mode: str = LOCAL, verdict: str = WRONG, step: int = 0) -> Row:
    outside = 2 if verdict == WRONG else 0
    own = Row("net/a", "float32", step, layer, "Linear", quantity, mode, verdict, n=8, n_outside=outside)
    return replace(own, worst_index=(1, 3), got=1.5, expected=1.25, tolerance=0.001)


SEEN = "25 % of 8 elements; worst at (1, 3): got 1.5, expected 1.25 ± 0.001"


def test_a_culprit_in_words() -> None:
    """Place, quantity, verdict, a step but the first, what was seen; then the cause, what follows, how to see it again."""
    culprit = Blame("net/a", "float32", 0, "fc", "Linear", "grad_input", WRONG, SEEN)
    assert str(culprit) == f"net/a/fc (Linear) grad_input wrong, float32: {SEEN}"
    assert str(replace(culprit, step=2)) == f"net/a/fc (Linear) grad_input wrong at step 2, float32: {SEEN}"
    assert str(replace(culprit, layer="", verdict="crashed")) == f"net/a (float32) crashed: {SEEN}"
    assert culprit.remarks == [] and culprit.in_full() == str(culprit)
    full = replace(culprit, cause="a factor 2", follows=tuple("abcdef"), reproduce="oracle run", map="#.\n..")
    assert full.remarks == [
        "likely cause: a factor 2",
        "wrong because of it: a, b, c, d and 2 more",
        "reproduce: oracle run",
    ]
    assert replace(full, follows=tuple("abcd")).remarks[1] == "wrong because of it: a, b, c, d"
    assert full.in_full().splitlines()[1:] == ["  #.", "  ..", *(f"  {remark}" for remark in full.remarks)]


def test_what_was_seen_and_what_is_said_of_it() -> None:
    """The worst element with its tolerance; the verdict's own words behind it."""
    wrong = row("fc", "output")
    (culprit,) = blame([wrong], "mine")
    assert (culprit.diagnosis, culprit.map) == (SEEN, "")
    wrong = replace(wrong, diagnosis="behaves like TF32")
    assert blame([wrong], "mine")[0].diagnosis == f"{SEEN}; behaves like TF32"


def test_a_culprit_is_reproduced_by_the_subject_that_it_is_of() -> None:
    """A name goes behind --subject, an option stays one, a call stays a call."""
    wrong = [row("fc", "output")]
    assert (
        blame(wrong, "mine:subject")[0].reproduce == "oracle run --cases net/a --dtype float32 --subject mine:subject"
    )
    assert blame(wrong, "--subject-command ./a")[0].reproduce == (
        "oracle run --cases net/a --dtype float32 --subject-command ./a"
    )
    assert blame(wrong, "oracle.run(s, cases=[{case}], dtypes=[{dtype}])")[0].reproduce == (
        "oracle.run(s, cases=['net/a'], dtypes=['float32'])"
    )
    assert blame(wrong, "oracle vectors judge v r --cases {case}")[0].reproduce == (
        "oracle vectors judge v r --cases 'net/a'"
    )


def test_what_follows_is_told_once_and_of_its_own_step() -> None:
    """What is wrong end to end only comes from the nearest culprit before it in the same step that can have made it."""
    rows = [
        row("top", "grad_input"),
        row("fc", "grad_output", END_TO_END),
        row("fc", "grad.weight"),
        row("fc", "grad.weight", END_TO_END),
        row("fc", "param.weight", END_TO_END),
        row("fc", "grad_input", END_TO_END),
        row("last", "grad.weight"),
        row("last", "param.bias", END_TO_END),
        row("fc", "grad.bias", END_TO_END, step=1),
    ]
    found = {(one.layer, one.quantity): one.follows for one in blame(rows, "mine")}
    assert found == {
        ("top", "grad_input"): ("fc grad_output", "fc grad_input", "last param.bias"),
        ("fc", "grad.weight"): ("fc param.weight",),
        ("last", "grad.weight"): (),
    }


def test_a_parameter_comes_from_its_own_gradient() -> None:
    """Updates come last: not from the culprit before them, but from the one in, or the one behind, their own gradient."""
    rows = [
        row("top", "grad.weight"),
        row("fc", "grad_input"),
        row("mid", "grad.weight", END_TO_END),
        row("first", "grad_input"),
        row("top", "param.weight", END_TO_END),
        row("mid", "param.weight", END_TO_END),
    ]
    found = {(one.layer, one.quantity): one.follows for one in blame(rows, "mine")}
    assert found == {
        ("top", "grad.weight"): ("top param.weight",),
        ("fc", "grad_input"): ("mid grad.weight", "mid param.weight"),
        ("first", "grad_input"): (),
    }


def test_a_layers_own_input_gradient_does_not_come_from_itself() -> None:
    """The gradient of an input reaches the layers before it, nothing else of its own layer."""
    rows = [row("fc", "grad_input"), row("fc", "grad.bias", END_TO_END), row("first", "grad_output", END_TO_END)]
    assert blame(rows, "mine")[0].follows == ("first grad_output",)


def test_what_shows_end_to_end_only_is_closed_in() -> None:
    """Without a local culprit the first that is wrong is blamed, and the last before it that is right is named.

    Right is what passed in the same step, end to end.
    """
    before = [row(name, "output", END_TO_END, PASS) for name in ("first", "second")]
    right = row("a", "output", END_TO_END, PASS)
    others = [
        row("z", "param.weight", END_TO_END, PASS, step=1),
        row("y", "output", LOCAL, PASS),
        row("x", "output", END_TO_END, UNDECIDED),
    ]
    branches, wrong = row("a", "branches", END_TO_END, PASS), row("b", "output", END_TO_END)
    later, end = row("c", "output", END_TO_END), row("d", "output", END_TO_END, PASS)
    (culprit,) = blame([*before, right, *others, branches, wrong, later, end], "mine")
    assert (culprit.layer, culprit.follows) == ("b", ("c output",))
    assert culprit.diagnosis.endswith("a output, the last that the trace shows before it, is right")
    (culprit,) = blame([branches, wrong], "mine")
    assert culprit.diagnosis.endswith("the trace shows nothing before it that is right")
