"""The description of a run: subject, reference, cases, machine, and how to repeat it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from oracle.report.environment import Environment, commit, environment

# The most layers that are named one by one.
MOST_LAYERS = 3


@dataclass(frozen=True, kw_only=True)
class About(Environment):
    """The description of a run and of the machine.

    In report.json each attribute has its name with spaces in place of underscores.

    Attributes:
        dtypes: the dtypes of the run.
        cases: the number of cases.
        unjudged: "fail" or "allow", whether something may stay unjudged; empty where the question does not arise.
        profile: how the subject's profile changes the judgement, one sentence each.
        never_tried: classes, and the options of each that no case tried on the subject.
        usual_settings: how many of the settings of everyday use were tried.
        not_trained_freely: networks that could not be trained freely, and why.
        not_asked_for: the layers of a module whose input requires no gradient.
        not_reached: the parameters of a module that require a gradient and got none.
        not_updated: the parameters of a module with a gradient that the optimizer does not hold.
        not_held: where parameters are used that the module does not hold.
        ignored: where numbers of the graph are changed unnoticed by autograd.
        changed_gradients: parameters whose gradient changes between the backward pass and the step of torch's optimizer.
        unjudged_buffers: the buffers of a module that change, and that no rule covers.
        not_finite: the place in a module where NaN or an infinity begins in the gradients.
        left_changed: the settings of the process that the subject left changed.
        command: a command or call that repeats the run.
        again: a command or call that repeats one case, see `oracle.blame.blame.reproduce`.
        date, commit: the time of the run, and the git commit of the current folder.
    """

    subject: str
    reference: str
    dtypes: tuple[str, ...]
    cases: int
    unjudged: str = ""
    profile: tuple[str, ...] = ()
    never_tried: tuple[str, ...] = ()
    usual_settings: str = ""
    not_trained_freely: tuple[str, ...] = ()
    not_asked_for: tuple[str, ...] = ()
    not_reached: tuple[str, ...] = ()
    not_updated: tuple[str, ...] = ()
    not_held: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    changed_gradients: tuple[str, ...] = ()
    unjudged_buffers: tuple[str, ...] = ()
    not_finite: str = ""
    left_changed: tuple[str, ...] = ()
    command: str = ""
    again: str = ""
    date: str = ""
    commit: str = ""

    @classmethod
    def here(cls, **said: Any) -> About:
        """The description of a run on this machine, now."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return cls(**vars(environment()), date=now, commit=commit(), **said)

    @property
    def when(self) -> str:
        """Date and commit, as far as they are known."""
        return ", ".join(text for text in (self.date, self.commit and f"commit {self.commit}") if text)

    @property
    def declared(self) -> str:
        """How the subject's profile changes the judgement, and what a check of a module leaves out: input gradients that were not
        requested, parameters that no gradient reached or nothing trains, changes that gradients ignore, gradients that change
        before an update, and buffers. It also has the place where gradients stop being finite. "" if there is nothing to say."""
        said = [*self.profile]
        if self.not_asked_for:
            said.append(f"no grad_input of {_named(self.not_asked_for)}, whose input requires no gradient")
        if self.not_reached:
            said.append(f"no gradient reached {_named(self.not_reached)}")
        if self.not_updated:
            said.append(f"the optimizer does not hold {_named(self.not_updated)}")
        if self.ignored:
            said.append(f"gradients ignore what is changed unnoticed by autograd, at {_named(self.ignored)}")
        if self.changed_gradients:
            named = _named(self.changed_gradients)
            said.append(
                f"a hook or a derived optimizer changes gradients before the update, which is not judged: {named}"
            )
        if self.unjudged_buffers:
            said.append(f"the changes of these buffers are not judged: {_named(self.unjudged_buffers)}")
        if self.not_held:
            said.append(f"parameters are used that the module does not hold, at {_named(self.not_held)}")
        if self.not_finite:
            said.append(f"NaN or an infinity begins in the gradients at {self.not_finite}, where finite ones arrive")
        return "; ".join(said)

    def untried(self, most: int) -> str:
        """The options that were never tried, for a limited number of classes, and how many usual settings were tried; "" if all
        were."""
        beyond = len(self.never_tried) - most
        more = f"and options of {beyond} more classes" if beyond > 0 else ""
        return "; ".join(text for text in (*self.never_tried[:most], more, self.usual_settings) if text)

    def to_json(self) -> dict[str, Any]:
        """Plain values by name."""
        values = {name: getattr(self, own) for own, name in NAMES.items()}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
        return {**plain, "versions": dict(self.versions)}


# The attributes, and how report.json names them.
NAMES = {own.name: own.name.replace("_", " ") for own in fields(About)}


def _named(places: tuple[str, ...]) -> str:
    """The first few of some places, and how many more there are."""
    beyond = len(places) - MOST_LAYERS
    return ", ".join(places[:MOST_LAYERS]) + (f" and {beyond} more" if beyond > 0 else "")
