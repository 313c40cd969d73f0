"""What a subject declares is taken as it is meant, or refused."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from oracle.judging.profile import Profile, profile_of


def test_a_profile_of_another_type_is_refused() -> None:
    """As a dictionary or the name of a convention it would declare nothing; without one nothing is declared."""
    declared = Profile(conventions=("softplus_uncut",))
    assert profile_of(SimpleNamespace(name="mine", profile=declared)) is declared
    assert profile_of(SimpleNamespace(name="mine")) == Profile()
    with pytest.raises(ValueError, match=r"subject mine: profile is an oracle\.Profile, got dict"):
        profile_of(SimpleNamespace(name="mine", profile={"conventions": ("softplus_uncut",)}))


def test_a_list_of_names_is_as_good_as_a_tuple() -> None:
    """It declares the same, and leaves out no more."""
    given = {"conventions": "softplus_uncut", "normwise": "Conv2d", "quantities": "*"}
    lists, tuples = (Profile(**{name: kind([own]) for name, own in given.items()}) for kind in (list, tuple))  # type: ignore[arg-type]
    assert lists == tuples and lists.in_words() == tuples.in_words()
