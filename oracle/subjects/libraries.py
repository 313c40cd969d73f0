"""The libraries of the built-in subjects: the packages of each, the extra that installs them, and the installed versions."""

from __future__ import annotations

from importlib import metadata

# Distributions by subject; an extra of the subject's name brings them.
DISTRIBUTIONS = {
    "refbp": ("refbp",),
    "torch": ("torch",),
    "jax": ("jax", "jaxlib", "optax"),
    "mygrad": ("mygrad",),
    "autograd": ("autograd",),
    "mlx": ("mlx",),
    "tinygrad": ("tinygrad",),
    "sklearn": ("scikit-learn",),
}


def versions(subject: str) -> dict[str, str]:
    """The versions by distribution; empty if one is not installed. refbp may be a checkout that is not installed."""
    found = {}
    for distribution in DISTRIBUTIONS[subject]:
        try:
            found[distribution] = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            if distribution != "refbp":
                return {}
            found[distribution] = "of this checkout"
    return found


def how_to_install(subject: str) -> str:
    return f"pip install 'refbp[{subject}]'"


def installed(subject: str) -> str:
    """The versions in a line, or a note that the library is not installed and which extra installs it."""
    found = versions(subject)
    if not found:
        return f"not installed: {how_to_install(subject)}"
    return ", ".join(f"{distribution} {version}" for distribution, version in found.items())
