"""What a run says of itself: who was held against whom, on what, where, and how to see it again."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from oracle.report.environment import Environment, commit, environment

# Layers that are named one by one.
MOST_LAYERS = 3


@dataclass(frozen=True, kw_only=True)
class About(Environment):
    """The description of a run, and of where it took place.

    In report.json each attribute stands under its name with blanks for the underscores.

    Attributes:
        dtypes, cases: in which precisions, and how many cases.
        unjudged: whether something may stay unjudged, "fail" or "allow"; empty where that was not asked.
        profile: what the subject's profile changes about the judgement, a sentence each.
        never_tried: classes with the options that the subject was never tried with.
        usual_settings: in how many settings of everyday use it was tried.
        not_trained_freely: networks that could not be trained freely, and why.
        not_asked_for: layers of a module of whose input no gradient was asked for.
        left_changed: what the subject changed of what everybody in its process shares.
        command: does the whole run again; again: shows one case again, see `oracle.blame.blame.reproduce`.
        date, commit: when it was run, and of which commit the current folder was.
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
    left_changed: tuple[str, ...] = ()
    command: str = ""
    again: str = ""
    date: str = ""
    commit: str = ""

    @classmethod
    def here(cls, **said: Any) -> About:
        """Of a run on this machine, now."""
        now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
        return cls(**vars(environment()), date=now, commit=commit(), **said)

    @property
    def when(self) -> str:
        """Date and commit, as far as they are known."""
        return ", ".join(text for text in (self.date, self.commit and f"commit {self.commit}") if text)

    @property
    def declared(self) -> str:
        """What the subject's profile changes about the judgement, and which gradients nobody asked for, so that nobody misses
        their rows; "" where there is nothing."""
        if not self.not_asked_for:
            return "; ".join(self.profile)
        beyond = len(self.not_asked_for) - MOST_LAYERS
        named = ", ".join(self.not_asked_for[:MOST_LAYERS]) + (f" and {beyond} more" if beyond > 0 else "")
        return "; ".join((*self.profile, f"no grad_input of {named}, whose input requires no gradient"))

    def untried(self, most: int) -> str:
        """Options that a subject of few was never tried with, of at most so many classes, and in how many usual settings it
        was; "" where it was tried with all."""
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
