"""Campaigns: the same rows however they are run, and every case once, whatever ends in between."""

from __future__ import annotations

from pathlib import Path

import pytest

from oracle import subjects
from oracle.case.case import Case
from oracle.fuzz import campaign, owner, pages
from oracle.fuzz.draw import drawn
from oracle.fuzz.outcome import Job, Outcome, Settings, quiet
from oracle.fuzz.owner import JUDGE
from oracle.fuzz.trial import judged, lost
from oracle.harness import executors
from oracle.harness.jobs import in_turn
from oracle.trace import Subject, Trace

from .fuzzed import rare

HERE = str(Path(__file__).parent)
REFBP = Settings("refbp", "torch", 5, ("layers", "losses"))
LOAD = subjects.load


class Slanted:
    """A subject with the weight gradient of its first layer a percent too large, or another quantity."""

    def __init__(self, of: Subject, quantity: str = "grad.weight") -> None:
        self.of, self.name, self.quantity = of, of.name, quantity

    def run(self, case: Case) -> Trace:
        trace = self.of.run(case)
        for key, array in list(trace.arrays.items()):
            if key.quantity == self.quantity:
                trace.record(*key, (array * 1.01).astype(array.dtype))
        return trace


def numbers_of(settings: Settings, types: set[str], most: int) -> list[int]:
    """The first numbers whose case has one of these classes alone."""
    found: list[int] = []
    number = 0
    while len(found) < most:
        with quiet():
            case = drawn(settings.seed, number, settings.kinds).case
        if {spec.type for spec in case.layers} & types:
            found.append(number)
        number += 1
    return found


def test_a_short_fuzz_of_refbp_finds_nothing() -> None:
    """A fixed seed in every test run. Refusals and choices are no discrepancies."""
    found = campaign.run(Settings("refbp", "torch", 2026, ("layers", "losses")), 80)
    assert found.fresh == len(found.outcomes) == 80
    assert [
        own for own in found.outcomes if own.verdict in ("wrong", "imprecise", "missing", "crashed", "failed")
    ] == []
    assert found.status == 0


def test_the_rows_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    """Not on their number, nor on whether a run was ended in between."""
    settings = REFBP._replace(reference="refbp")  # workers without torch start sooner
    alone = campaign.run(settings, 20).outcomes
    with executors.pool(2) as pool:
        assert campaign.run(settings, 20, tmp_path, executor=pool).outcomes == alone
    table = tmp_path / campaign.TABLE
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])  # as a kill leaves it, in the middle of a line
    resumed = campaign.run(settings, 20, tmp_path, resume=True)
    assert 0 < resumed.fresh < 20 and resumed.outcomes == alone
    assert sorted(table.read_bytes().splitlines()) == sorted(whole.splitlines())  # in the order in which they were done


def test_another_campaign_is_not_continued(tmp_path: Path) -> None:
    campaign.run(REFBP, 2, tmp_path)
    with pytest.raises(ValueError, match=r"--resume expects the campaign of .*, with seed \d+, got seed 60$"):
        campaign.run(REFBP._replace(seed=60), 2, tmp_path, resume=True)
    other = REFBP._replace(reference="refbp", kinds=("losses", "layers", "losses"))
    with pytest.raises(
        ValueError, match=r"with reference torch, kinds .*, got reference refbp, kinds losses and layers$"
    ):
        campaign.run(other, 2, tmp_path, resume=True)


@pytest.mark.parametrize("content, said", [("{", "which cannot be read"), ("[]", "an object of JSON, got list")])
def test_a_damaged_campaign_is_not_continued(content: str, said: str, tmp_path: Path) -> None:
    campaign.run(REFBP, 2, tmp_path)
    (about,) = tmp_path.glob("*.json")
    about.write_text(content)
    with pytest.raises(ValueError, match=f"--resume expects a campaign in .*{about.name}, {said}"):
        campaign.run(REFBP, 2, tmp_path, resume=True)


@pytest.mark.slow
def test_an_end_of_the_process_costs_one_case() -> None:
    """A kill, a hang, and a lack of memory are rows of the subject; all other cases are judged."""
    settings = Settings("fuzzed:fragile", "refbp", 5, ("layers",))
    bad = {"ReLU": "killed|signal|SIGKILL", "Sigmoid": "gave no answer within 3 s", "Tanh": "MemoryError|allocate"}
    numbers = {type: numbers_of(settings, {type}, 1)[0] for type in bad} | {
        "Linear": numbers_of(settings, {"Linear"}, 1)[0]
    }
    jobs = [Job(settings, number) for number in numbers.values()]
    with executors.pool(1, executors.Limits(3, HERE, 6.0)) as pool:
        found = {job.number: own for job, own in in_turn(judged, jobs, str, None, pool, lost)}
    for type in bad:
        assert (found[numbers[type]].verdict, found[numbers[type]].operation) == ("crashed", type), found
        assert found[numbers[type]].owner in ("fragile", "fuzzed:fragile")
    assert found[numbers["Linear"]].verdict != "crashed"


def test_a_fault_of_a_rare_combination_is_found() -> None:
    """Depthwise, stride 2, 24 channels, a gradient that lies channels last: `oracle fuzz --kinds layers` comes to it at this
    number, after about a minute."""
    found = judged(Job(Settings(rare, "torch", 0, ("layers",)), 4993))
    assert (found.operation, found.quantity, found.verdict, found.owner) == ("Conv2d", "grad.weight", "wrong", "rare")
    right = judged(Job(Settings("refbp", "torch", 0, ("layers",)), 4993))
    assert right.verdict == "pass"


def test_where_honest_programs_are_called_wrong_the_judge_errs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_is_called_wrong", lambda *_: True)
    assert judged(Job(Settings(rare, "torch", 0, ("layers",)), 4993)).owner == JUDGE


def test_who_errs_in_an_update_is_told_by_the_update_alone() -> None:
    """A parameter has the name of its layer, which does not make it. Held against the layer, no one had a value for it."""
    found = judged(Job(Settings(Slanted(LOAD("refbp"), "param.bias"), "torch", 63), 9))
    assert (found.quantity, found.verdict, found.owner) == ("param.bias", "wrong", "refbp")


@pytest.mark.parametrize("name", ["torch", "refbp"])
def test_who_differs_from_the_differences_errs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that is a percent too large is that one's fault, also where it is the reference's."""
    wrong = Slanted(LOAD(name))
    monkeypatch.setattr(subjects, "load", lambda own: wrong if own == name else LOAD(own))
    found = judged(Job(Settings("refbp", "torch", 0, ("layers",)), 4993))
    assert (found.owner, found.verdict) == (name, {"torch": "convention", "refbp": "wrong"}[name])


@pytest.mark.parametrize("subject, reference", [("refbp", "torch"), ("torch", "refbp"), ("refbp", "refbp")])
def test_what_all_refuse_is_nobodys_error(subject: str, reference: str) -> None:
    """A case that refbp cannot run, such as a norm of one number: the other side is asked too."""
    with quiet():
        number = next(own for own in range(10**4) if "more than 1 value" in drawn(1, own, ("layers",)).refusal)
    found = judged(Job(Settings(subject, reference, 1, ("layers",)), number))
    assert (found.verdict, found.owner) == ("refused", "") and "and" in found.words


def test_who_gives_nan_for_a_number_errs() -> None:
    """torch's PoissonNLLLoss, for a target of zero: the page of its group names the finding."""
    settings = Settings("refbp", "torch", 11)
    found = judged(Job(settings, 761))
    assert (found.operation, found.quantity, found.owner) == ("PoissonNLLLoss", "grad.target", "torch")
    assert pages.known_as(campaign.Group((found,))) == ["torch-poisson-nll-target"]


def test_a_group_has_a_page_with_its_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    settings = Settings("fuzzed:rare", "torch", 0, ("layers",))
    outcome = judged(Job(settings, 4993))
    found = campaign.Campaign(settings, (outcome, Outcome(1, "float32", "ReLU", "pass")), 1.0, 2)
    (page,) = pages.write(found, tmp_path)
    text = page.read_text()
    assert "Conv2d grad.weight wrong (factor)" in text and "fuzz/layers-0-4993" in text and "**Who errs.** rare" in text
    assert page.with_suffix(".json").exists() and page.with_suffix(".py").exists()
    assert found.status == 1 and "| wrong | 1 |" in (tmp_path / pages.REPORT).read_text()
