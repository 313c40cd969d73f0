"""Single layers: every class with each of its options and every pair of options, on random data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from oracle.case import Case
from oracle.suite.build import generator, label, layer, network_case, pairs


def swept(
    family: str,
    type: str,
    why: str,
    levels: Mapping[str, Sequence[Any]],
    shape: tuple[int, ...],
    valid: Callable[[dict[str, Any]], bool] = lambda _: True,
    **fixed: Any,
) -> Iterator[Case]:
    """A case per combination of options; `fixed` are the arguments that all of them share."""
    for options in pairs(levels, valid):
        name = f"{family}/{type}{label(options)}"
        yield network_case(name, f"{why}: {label(options).lstrip(',')}", [layer(type, **fixed, **options)], shape)


def cases() -> Iterator[Case]:
    yield from linear()
    yield from convolution()
    yield from pooling()
    yield from reshaping()
    yield from dropout()
    yield from activations()


def linear() -> Iterator[Case]:
    for features in ((1, 1), (3, 4), (64, 10)):
        for bias in (True, False):
            options: dict[str, Any] = {"in_features": features[0], "out_features": features[1], "bias": bias}
            for batch in ((), (1,), (5,), (2, 3)):
                size = "x".join(map(str, batch)) or "none"
                yield network_case(
                    f"linear/Linear{label(options)},batch={size}",
                    "weight and bias gradients sum over all leading dimensions, in the weight's layout",
                    [layer("Linear", **options)],
                    (*batch, features[0]),
                )


def convolution() -> Iterator[Case]:
    def valid(options: dict[str, Any]) -> bool:
        return not (options.get("padding") == "same" and options.get("stride", 1) != 1)

    yield from swept(
        "conv",
        "Conv2d",
        "indices of windows, kernel taps and groups, alone and together",
        {
            "stride": [1, 2, (2, 3)],
            "padding": [0, 1, (2, 1), "same", "valid"],
            "dilation": [1, 2, (1, 2)],
            "groups": [1, 2],
            "kernel_size": [3, 1, (2, 3)],
            "bias": [True, False],
            "padding_mode": ["zeros", "reflect", "replicate", "circular"],
        },
        (2, 4, 9, 8),
        valid,
        in_channels=4,
        out_channels=6,
    )
    yield network_case(
        "conv/Conv2d,unbatched", "an input without batch dimension", [layer("Conv2d", 2, 3, 3, padding=1)], (2, 5, 6)
    )
    yield network_case(
        "conv/Conv2d,depthwise",
        "one group per channel, several kernels each",
        [layer("Conv2d", 3, 6, 3, groups=3)],
        (2, 3, 6, 6),
    )
    yield network_case(
        "conv/Conv2d,remainder",
        "stride leaves rows and columns that no window covers: their gradient is zero",
        [layer("Conv2d", 2, 3, 2, stride=3)],
        (2, 2, 7, 10),
    )
    yield network_case(
        "conv/Conv2d,stride_beyond_kernel",
        "gaps between windows receive no gradient",
        [layer("Conv2d", 2, 3, 2, stride=4, padding=1)],
        (1, 2, 10, 9),
    )


def pooling() -> Iterator[Case]:
    def fits(options: dict[str, Any]) -> bool:
        kernel = options.get("kernel_size", 2)
        smallest = min(kernel) if isinstance(kernel, tuple) else kernel
        return bool(options.get("padding", 0) <= smallest // 2)

    yield from swept(
        "pool",
        "MaxPool2d",
        "the winner of each window gets the gradient, and windows that overlap add up",
        {
            "kernel_size": [2, 3, (3, 2)],
            "stride": [None, 1, 2, (1, 3)],
            "padding": [0, 1],
            "dilation": [1, 2],
            "ceil_mode": [False, True],
        },
        (2, 3, 8, 9),
        fits,
    )
    yield from swept(
        "pool",
        "AvgPool2d",
        "each window's gradient is spread by its divisor, and windows that overlap add up",
        {
            "kernel_size": [2, 3, (3, 2)],
            "stride": [None, 1, 2, (1, 3)],
            "padding": [0, 1],
            "ceil_mode": [False, True],
            "count_include_pad": [True, False],
            "divisor_override": [None, 5],
        },
        (2, 3, 8, 9),
        fits,
    )
    for type in ("MaxPool2d", "AvgPool2d"):
        yield network_case(f"pool/{type},unbatched", "an input without batch dimension", [layer(type, 2)], (3, 4, 6))


def reshaping() -> Iterator[Case]:
    for start, end in ((1, -1), (0, -1), (1, 2), (2, 3)):
        yield network_case(
            f"reshape/Flatten,start_dim={start},end_dim={end}",
            "the gradient takes the input's shape again, element by element",
            [layer("Flatten", start, end)],
            (2, 3, 4, 5),
        )


def dropout() -> Iterator[Case]:
    why = "the gradient passes through the mask and the scale of the forward pass"
    for p in (0.0, 0.1, 0.5, 0.9):
        yield network_case(f"dropout/Dropout,p={p}", why, [layer("Dropout", p)], (4, 50))
        yield network_case(
            f"dropout/Dropout,p={p},eval", "identity when not training", [layer("Dropout", p)], (4, 5), training=False
        )
    name = "dropout/Dropout,imposed"
    mask = generator(name).uniform(size=(6, 7)) < 0.7
    yield network_case(name, "a mask that is given is used", [layer("Dropout", 0.3)], (6, 7), masks={"0": mask})


def activations() -> Iterator[Case]:
    why = "the derivative is taken at this input, times the upstream gradient"
    for type in ("Sigmoid", "Tanh", "ReLU"):
        yield network_case(f"activation/{type}", why, [layer(type)], (4, 3, 5))
    for slope in (0.01, 0.0, 0.3, 1.5):
        yield network_case(f"activation/LeakyReLU,negative_slope={slope}", why, [layer("LeakyReLU", slope)], (4, 3, 5))
    for type in ("Softmax", "LogSoftmax"):
        for dim in (None, 0, 1, -1):
            yield network_case(
                f"activation/{type},dim={dim}",
                "the sum over the dimension couples all of its elements",
                [layer(type, dim)],
                (4, 3, 5),
            )
    for type in ("Sigmoid", "Tanh", "Softmax", "LogSoftmax"):
        options: dict[str, Any] = {"dim": -1} if "max" in type else {}
        name = f"activation/{type},large"
        yield network_case(
            name,
            "large arguments saturate; nothing overflows",
            [layer(type, **options)],
            inputs=(generator(name).standard_normal((6, 7)) * 30,),
        )
