"""Gradient bugs that real projects shipped, and the cases that would have caught each."""

from __future__ import annotations

from typing import NamedTuple


class BugClass(NamedTuple):
    """A public report of a wrong gradient, and patterns of the cases that can show it."""

    report: str
    what: str
    cases: tuple[str, ...]


BUG_CLASSES = (
    # The test was blind: it never ran the mode, the argument or the input gradient.
    BugClass("CrypTen#143", "batch norm's input gradient ignored the batch statistics", ("norm/BatchNorm2d*",)),
    BugClass("mlpack#1923", "only parameter gradients were checked, not the input's", ("linear/*", "conv/*", "norm/*")),
    BugClass(
        "pytorch#188344",
        "a test helper dropped the padding argument",
        ("conv/Conv2d*padding=1*", "pool/MaxPool2d*padding=1*"),
    ),
    BugClass("chainer#1175", "Huber loss ignored the upstream gradient", ("loss/HuberLoss*reduction=none*",)),
    BugClass("tiny-dnn#871", "both gradients were zero, so the check passed", ("linear/*", "conv/*", "mlp/*")),
    BugClass("KernelBench#165", "a kernel that returns zeros passed an absolute tolerance", ("*",)),
    BugClass(
        "Paddle#64226", "a tolerance of 0.5 % hid a bug in pos_weight", ("loss/BCEWithLogitsLoss*pos_weight=given*",)
    ),
    # Memory layout.
    BugClass(
        "flash-attention#355",
        "an upstream gradient that was not contiguous",
        ("layout/*,transposed", "layout/*,strided"),
    ),
    BugClass("pytorch#175189", "batch norm of channels-last memory", ("layout/BatchNorm2d,channels_last",)),
    BugClass("burn#5308", "a buffer that was never written", ("conv/Conv2d,remainder", "pool/MaxPool2d*")),
    BugClass(
        "Liger-Kernel#1251", "an input was overwritten that an earlier op had saved", ("network/resnet18", "mlp/*")
    ),
    # Convolution.
    BugClass("pytorch#51430", "the weight gradient with groups", ("conv/Conv2d*groups=2*", "conv/Conv2d,depthwise")),
    BugClass("mlx#2184", "the weight gradient's shape", ("conv/Conv*",)),
    BugClass(
        "candle#2337",
        "stride and dilation swapped",
        ("conv/Conv2d,groups+stride+dilation", "conv/ConvTranspose2d,groups+stride+dilation"),
    ),
    BugClass("tensorflow#11092", "the offset of padding 'same'", ("conv/Conv2d*padding=same*",)),
    BugClass("CMU10-714#6", "a stride that leaves a remainder", ("conv/Conv2d,remainder",)),
    BugClass("neon#111", "a wrong index along depth", ("conv/Conv3d*", "pool/MaxPool3d*")),
    BugClass("NNlib#763", "an empty batch", ("batch/*,batch=0",)),
    # Pooling.
    BugClass(
        "CS231n-assignment#19",
        "a stride other than the kernel",
        ("pool/MaxPool2d*stride=1*", "pool/AvgPool2d*stride=1*"),
    ),
    BugClass("NNlib#133", "padding of max pooling", ("pool/MaxPool2d*padding=1*",)),
    BugClass("pytorch#198119", "the divisor of average pooling in ceil_mode", ("pool/AvgPool2d*ceil_mode=True*",)),
    # Normalisation.
    BugClass("pytorch/xla#913", "batch norm's gradient in evaluation", ("norm/BatchNorm2d*,eval",)),
    # Losses and activations.
    BugClass("aprender#2182", "the backward ignored the reduction", ("loss/*reduction=sum*", "loss/*reduction=mean*")),
    BugClass("Liger-Kernel#968", "reduction 'none'", ("loss/*reduction=none*",)),
    BugClass("chainer#5898", "a leaky slope of 0 passed everything", ("activation/LeakyReLU,negative_slope=0.0",)),
    BugClass(
        "attorch#13",
        "Huber loss compared the signed difference with its threshold",
        ("loss/HuberLoss*", "kink/HuberLoss"),
    ),
    BugClass("NNlib#68", "log-softmax overflowed", ("activation/LogSoftmax,large", "loss/CrossEntropyLoss,extreme")),
    # Engine and optimizer.
    BugClass(
        "micrograd#2", "a node that is used twice", ("network/shared_layer", "network/resnet18", "network/densenet")
    ),
    BugClass("pytorch#13801", "weight decay after momentum", ("optimizer/SGD,momentum+nesterov+decay",)),
    # Values, sizes and settings that a suite rarely has.
    BugClass("inplace_abn#92", "|γ| in the place of γ", ("value/*Norm*,negative",)),
    BugClass(
        "pytorch#31938",
        "a negative slope, told apart by the sign of the output",
        ("activation/LeakyReLU,negative_slope=-0.3", "value/PReLU*,negative"),
    ),
    BugClass("kaldi#3890", "a mask read off the output, where the input is zero", ("value/*Dropout,zeros",)),
    BugClass(
        "pytorch#73205", "smoothing of rows that are ignored", ("loss/CrossEntropyLoss*", "usual/CrossEntropyLoss*")
    ),
    BugClass("pytorch#50042", "a group of 24 channels", ("value/GroupNorm,channels=24",)),
    BugClass("FlagGems#4992", "slopes along the wrong axis", ("value/PReLU,channels=width",)),
    BugClass("burn#4916", "output_padding beyond the stride", ("conv/*,output_padding_beyond_stride",)),
    BugClass("deeplearning4j#964", "height and width exchanged", ("pool/MaxPool2d,*", "usual/MaxPool2d*")),
    BugClass("deeplearning4j#364", "a batch of one", ("network/one_sample", "batch/*,batch=1")),
    BugClass(
        "flashlight#143", "Adam's count raised once for each parameter", ("optimizer/Adam,*", "optimizer/Adamax,*")
    ),
    BugClass("nanochat#304", "ε before the correction", ("optimizer/AdamW,eps=0.001",)),
    BugClass("Paddle#54244", "a frozen layer in front", ("network/frozen",)),
)
