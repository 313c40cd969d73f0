"""refbp: backpropagation for MLPs and CNNs, written by hand in NumPy, to be read and to be compared with.

Layers and losses have the names, arguments and defaults of torch.nn, optimizers those of torch.optim. What they share is
documented at `Layer`, `Loss` and `Optimizer`; the mathematics without state is in `refbp.functional`, and the derivation of
the equations that docstrings cite as eq. (n) is in refbp/DERIVATION.md.

>>> net = refbp.Sequential(refbp.Linear(2, 3), refbp.Sigmoid(), refbp.Linear(3, 1))
>>> loss, optimizer = refbp.MSELoss(), refbp.SGD(net, lr=0.1, momentum=0.9)
>>> value = loss(net(np.ones((5, 2))), np.zeros((5, 1)))
>>> grad_input = net.backward(loss.backward())
>>> optimizer.step()
>>> optimizer.zero_grad()
"""

from refbp import functional
from refbp.activations import (
    CELU,
    ELU,
    GELU,
    SELU,
    LogSigmoid,
    Mish,
    Sigmoid,
    SiLU,
    Softplus,
    Softsign,
    Tanh,
    Tanhshrink,
)
from refbp.adagrad_rules import Adadelta, Adafactor, Adagrad, RMSprop
from refbp.adam_rules import Adam, Adamax, AdamW, NAdam, RAdam
from refbp.adaptive_pooling import (
    AdaptiveAvgPool1d,
    AdaptiveAvgPool2d,
    AdaptiveAvgPool3d,
    AdaptiveMaxPool1d,
    AdaptiveMaxPool2d,
    AdaptiveMaxPool3d,
)
from refbp.avg_pooling import AvgPool1d, AvgPool2d, AvgPool3d
from refbp.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d, InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from refbp.classification_losses import BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, NLLLoss
from refbp.containers import Concat, Residual, Sequential
from refbp.conv import Conv1d, Conv2d, Conv3d
from refbp.conv_transpose import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d
from refbp.dropout import AlphaDropout, Dropout, Dropout1d, Dropout2d, Dropout3d
from refbp.layer import Layer, Parameter
from refbp.linear import Linear
from refbp.loss import Loss
from refbp.lp_pooling import LPPool1d, LPPool2d, LPPool3d
from refbp.margin_losses import (
    CosineEmbeddingLoss,
    HingeEmbeddingLoss,
    MarginRankingLoss,
    MultiLabelMarginLoss,
    MultiLabelSoftMarginLoss,
    MultiMarginLoss,
    SoftMarginLoss,
)
from refbp.max_pooling import MaxPool1d, MaxPool2d, MaxPool3d
from refbp.normalization import GroupNorm, LayerNorm, LocalResponseNorm, RMSNorm
from refbp.optimizer import Optimizer
from refbp.padding import (
    CircularPad1d,
    CircularPad2d,
    CircularPad3d,
    ConstantPad1d,
    ConstantPad2d,
    ConstantPad3d,
    ReflectionPad1d,
    ReflectionPad2d,
    ReflectionPad3d,
    ReplicationPad1d,
    ReplicationPad2d,
    ReplicationPad3d,
    ZeroPad1d,
    ZeroPad2d,
    ZeroPad3d,
)
from refbp.piecewise import (
    Hardshrink,
    Hardsigmoid,
    Hardswish,
    Hardtanh,
    LeakyReLU,
    PReLU,
    ReLU,
    ReLU6,
    Softshrink,
    Threshold,
)
from refbp.regression_losses import GaussianNLLLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, PoissonNLLLoss, SmoothL1Loss
from refbp.reshape import Flatten, Identity, PixelShuffle, PixelUnshuffle, Unflatten
from refbp.softmax import GLU, LogSoftmax, Softmax, Softmax2d, Softmin
from refbp.update_rules import ASGD, SGD, Rprop
from refbp.upsampling import Upsample

__version__ = "0.2.0"

__all__ = [
    "ASGD",
    "CELU",
    "ELU",
    "GELU",
    "GLU",
    "SELU",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "AdaptiveAvgPool1d",
    "AdaptiveAvgPool2d",
    "AdaptiveAvgPool3d",
    "AdaptiveMaxPool1d",
    "AdaptiveMaxPool2d",
    "AdaptiveMaxPool3d",
    "AlphaDropout",
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BCELoss",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "CircularPad1d",
    "CircularPad2d",
    "CircularPad3d",
    "Concat",
    "ConstantPad1d",
    "ConstantPad2d",
    "ConstantPad3d",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "CosineEmbeddingLoss",
    "CrossEntropyLoss",
    "Dropout",
    "Dropout1d",
    "Dropout2d",
    "Dropout3d",
    "Flatten",
    "GaussianNLLLoss",
    "GroupNorm",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "HingeEmbeddingLoss",
    "HuberLoss",
    "Identity",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "KLDivLoss",
    "L1Loss",
    "LPPool1d",
    "LPPool2d",
    "LPPool3d",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LocalResponseNorm",
    "LogSigmoid",
    "LogSoftmax",
    "Loss",
    "MSELoss",
    "MarginRankingLoss",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "Mish",
    "MultiLabelMarginLoss",
    "MultiLabelSoftMarginLoss",
    "MultiMarginLoss",
    "NAdam",
    "NLLLoss",
    "Optimizer",
    "PReLU",
    "Parameter",
    "PixelShuffle",
    "PixelUnshuffle",
    "PoissonNLLLoss",
    "RAdam",
    "RMSNorm",
    "RMSprop",
    "ReLU",
    "ReLU6",
    "ReflectionPad1d",
    "ReflectionPad2d",
    "ReflectionPad3d",
    "ReplicationPad1d",
    "ReplicationPad2d",
    "ReplicationPad3d",
    "Residual",
    "Rprop",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "SmoothL1Loss",
    "SoftMarginLoss",
    "Softmax",
    "Softmax2d",
    "Softmin",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
    "Unflatten",
    "Upsample",
    "ZeroPad1d",
    "ZeroPad2d",
    "ZeroPad3d",
    "functional",
]
