"""The results of a self-test, and what they come to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, TypeAlias

import pandas as pd

from oracle.selftest.between.planted import Met
from oracle.selftest.controls import FAILS, PASSES
from oracle.selftest.narrow.planted import WIDEST, Found
from oracle.selftest.ordinary import Ordinary
from oracle.selftest.plain import Plain

# Targets for the planted bugs' causes: least share named first, largest share named wrongly.
CAUSES_RIGHT, CAUSES_WRONG = 0.94, 0.005


@dataclass(frozen=True)
class Planted:
    """The result for a planted bug.

    Attributes:
        layer, quantity: the place of the bug.
        blamed: the place that the report blames first.
        cause: name of the cause that the report gives first; empty if it gives none.
    """

    bug: str
    family: str
    dtype: str
    layer: str
    quantity: str
    caught: bool
    layer_right: bool
    quantity_right: bool
    cause_right: bool
    verdict: str
    blamed: str
    cause: str


@dataclass(frozen=True)
class Legal:
    """The result for a legal variant.

    Attributes:
        elements: number of judged elements, local and end to end.
        alarms: how many of them lie outside their tolerance, `loose` ones included; there should be none.
        undecided: share of the rows that are undecided.
        z_max: largest z of all elements.
        width: median over the rows of tolerance / largest error; NaN if no row has a rounding error.
    """

    variant: str
    family: str
    dtype: str
    elements: int
    alarms: int
    undecided: float
    z_max: float
    width: float


@dataclass(frozen=True)
class Control:
    """The result of a control on a case; see `controls.outcome`."""

    control: str
    case: str
    outcome: str


Scored: TypeAlias = Planted | Legal | Ordinary | Plain | Met | Found | Control


@dataclass
class SelfTest:
    """The results of a self-test."""

    bugs: list[Planted] = field(default_factory=list)
    variants: list[Legal] = field(default_factory=list)
    programs: list[Ordinary] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    plain: list[Plain] = field(default_factory=list)
    between: list[Met] = field(default_factory=list)
    narrow: list[Found] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def missed(self) -> list[Planted]:
        return [bug for bug in self.bugs if not bug.caught]

    @property
    def misplaced(self) -> list[Planted]:
        return [bug for bug in self.bugs if bug.caught and not (bug.layer_right and bug.quantity_right)]

    @property
    def misnamed(self) -> list[Planted]:
        """Bugs whose first cause is wrong."""
        return [bug for bug in self.bugs if bug.cause and not bug.cause_right]

    @property
    def unnamed(self) -> list[Planted]:
        return [bug for bug in self.bugs if not bug.cause]

    @property
    def alarmed(self) -> list[Legal]:
        return [variant for variant in self.variants if variant.alarms]

    @property
    def accused(self) -> list[Ordinary]:
        return [program for program in self.programs if program.accused]

    @property
    def let_through(self) -> list[Control]:
        return [control for control in self.controls if control.outcome == PASSES]

    @property
    def overlooked(self) -> list[Plain]:
        """Bugs in a subject with plain options that no case of the suite finds."""
        return [own for own in self.plain if not own.case]

    @property
    def unmet(self) -> list[Met]:
        """Bugs between layers that are not blamed first at their place, or whose repaired twin is accused."""
        return [own for own in self.between if not own.named or own.twin]

    @property
    def unfound(self) -> list[Found]:
        """Bugs in 16-bit kernels of which the report does not say the right kind, or whose honest twin is accused."""
        return [own for own in self.narrow if not own.named or own.twin]

    @property
    def narrow_width(self) -> float:
        """The median over the honest 16-bit kernels of tolerance / largest error; NaN if there are none."""
        return float(pd.Series([own.width for own in self.narrow], dtype=float).median())

    @property
    def passed(self) -> bool:
        """Every bug is caught and placed, nothing right is accused, no control passes, and enough causes are right."""
        right = sum(bug.cause_right for bug in self.bugs)
        few = max(1, CAUSES_WRONG * len(self.bugs))  # a single wrong cause is always allowed
        named = right >= CAUSES_RIGHT * len(self.bugs) and len(self.misnamed) <= few
        accused = self.alarmed or self.accused
        elsewhere = self.overlooked or self.unmet or self.unfound or self.narrow_width > WIDEST
        return named and not (self.missed or self.misplaced or accused or self.let_through or elsewhere)

    def bug_table(self) -> pd.DataFrame:
        """One row per bug and dtype."""
        return pd.DataFrame([asdict(bug) for bug in self.bugs], columns=[own.name for own in fields(Planted)])

    def families(self) -> pd.DataFrame:
        """One row per family of bugs: how many are planted, caught, placed, and given the right cause."""
        grouped = self.bug_table().groupby("family", sort=False)
        counts = grouped[["caught", "layer_right", "quantity_right", "cause_right"]].sum().astype(int)
        counts.insert(0, "planted", grouped.size())
        return counts.reset_index()

    def legal_families(self) -> pd.DataFrame:
        """One row per family of variants: their number, elements, alarms, largest z, and width of the tolerances."""
        frame = pd.DataFrame([asdict(own) for own in self.variants], columns=[own.name for own in fields(Legal)])
        grouped = frame.groupby("family", sort=False)
        return grouped.agg(
            variants=("variant", "nunique"),
            elements=("elements", "sum"),
            alarms=("alarms", "sum"),
            z_max=("z_max", "max"),
            width=("width", "median"),
        ).reset_index()

    def ordinary_kinds(self) -> pd.DataFrame:
        """One row per kind of network: programs, elements, how many are accused, share undecided, largest z, width."""
        frame = pd.DataFrame([asdict(own) for own in self.programs], columns=[own.name for own in fields(Ordinary)])
        frame["network"], frame["accused"] = frame["program"].str.split(", ").str[0], frame["accused"] != ""
        return (
            frame.groupby("network", sort=False)
            .agg(
                programs=("seed", "size"),
                elements=("elements", "sum"),
                accused=("accused", "sum"),
                undecided=("undecided", "mean"),
                z_max=("z_max", "max"),
                width=("width", "median"),
            )
            .reset_index()
        )

    def control_counts(self) -> pd.DataFrame:
        """One row per control: on how many cases it fails, passes, or says nothing."""
        frame = pd.DataFrame([asdict(own) for own in self.controls], columns=[own.name for own in fields(Control)])
        frame["outcome"] = frame["outcome"].where(frame["outcome"].isin([FAILS, PASSES]), "says nothing")
        counts = frame.groupby(["control", "outcome"], sort=False).size().unstack(fill_value=0)
        return counts.reindex(columns=[FAILS, PASSES, "says nothing"], fill_value=0).reset_index()

    def to_json(self) -> dict[str, Any]:
        return {
            "passed": self.passed,
            "seconds": self.seconds,
            **{
                name: [asdict(own) for own in getattr(self, name)]
                for name in (
                    "missed",
                    "misplaced",
                    "alarmed",
                    "accused",
                    "let_through",
                    "overlooked",
                    "unmet",
                    "unfound",
                )
            },
            "bugs": self.families().to_dict(orient="records"),
            "variants": [
                {name: None if pd.isna(value) else value for name, value in record.items()}
                for record in self.legal_families().to_dict(orient="records")
            ],
            "programs": {
                "run": len(self.programs),
                "accused": len(self.accused),
                "z_max": max((program.z_max for program in self.programs), default=0.0),
            },
            "controls": self.control_counts().to_dict(orient="records"),
        }
