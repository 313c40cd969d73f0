"""refbp: backpropagation for MLPs and CNNs, written by hand in NumPy, for readers and as a reference to compare with.

Layers and losses have the names, arguments and defaults of torch.nn, optimizers those of torch.optim. `Layer`, `Loss` and
`Optimizer` document what all of a kind share. `refbp.functional` holds the mathematics without state. Docstrings cite
equations as eq. (n); refbp/DERIVATION.md derives them.

>>> net = refbp.Sequential(refbp.Linear(2, 3), refbp.Sigmoid(), refbp.Linear(3, 1))
>>> loss, optimizer = refbp.MSELoss(), refbp.SGD(net, lr=0.1, momentum=0.9)
>>> value = loss(net(np.ones((5, 2))), np.zeros((5, 1)))
>>> grad_input = net.backward(loss.backward())
>>> optimizer.step()
>>> optimizer.zero_grad()
"""

from refbp import functional as functional
from refbp.activations import CELU as CELU
from refbp.activations import ELU as ELU
from refbp.activations import GELU as GELU
from refbp.activations import SELU as SELU
from refbp.activations import LogSigmoid as LogSigmoid
from refbp.activations import Mish as Mish
from refbp.activations import Sigmoid as Sigmoid
from refbp.activations import SiLU as SiLU
from refbp.activations import Softplus as Softplus
from refbp.activations import Softsign as Softsign
from refbp.activations import Tanh as Tanh
from refbp.activations import Tanhshrink as Tanhshrink
from refbp.adagrad_rules import Adadelta as Adadelta
from refbp.adagrad_rules import Adafactor as Adafactor
from refbp.adagrad_rules import Adagrad as Adagrad
from refbp.adagrad_rules import RMSprop as RMSprop
from refbp.adam_rules import Adam as Adam
from refbp.adam_rules import Adamax as Adamax
from refbp.adam_rules import AdamW as AdamW
from refbp.adam_rules import NAdam as NAdam
from refbp.adam_rules import RAdam as RAdam
from refbp.adaptive_pooling import AdaptiveAvgPool1d as AdaptiveAvgPool1d
from refbp.adaptive_pooling import AdaptiveAvgPool2d as AdaptiveAvgPool2d
from refbp.adaptive_pooling import AdaptiveAvgPool3d as AdaptiveAvgPool3d
from refbp.adaptive_pooling import AdaptiveMaxPool1d as AdaptiveMaxPool1d
from refbp.adaptive_pooling import AdaptiveMaxPool2d as AdaptiveMaxPool2d
from refbp.adaptive_pooling import AdaptiveMaxPool3d as AdaptiveMaxPool3d
from refbp.avg_pooling import AvgPool1d as AvgPool1d
from refbp.avg_pooling import AvgPool2d as AvgPool2d
from refbp.avg_pooling import AvgPool3d as AvgPool3d
from refbp.batch_norm import BatchNorm1d as BatchNorm1d
from refbp.batch_norm import BatchNorm2d as BatchNorm2d
from refbp.batch_norm import BatchNorm3d as BatchNorm3d
from refbp.batch_norm import InstanceNorm1d as InstanceNorm1d
from refbp.batch_norm import InstanceNorm2d as InstanceNorm2d
from refbp.batch_norm import InstanceNorm3d as InstanceNorm3d
from refbp.classification_losses import BCELoss as BCELoss
from refbp.classification_losses import BCEWithLogitsLoss as BCEWithLogitsLoss
from refbp.classification_losses import CrossEntropyLoss as CrossEntropyLoss
from refbp.classification_losses import NLLLoss as NLLLoss
from refbp.containers import Concat as Concat
from refbp.containers import Residual as Residual
from refbp.containers import Sequential as Sequential
from refbp.conv import Conv1d as Conv1d
from refbp.conv import Conv2d as Conv2d
from refbp.conv import Conv3d as Conv3d
from refbp.conv_transpose import ConvTranspose1d as ConvTranspose1d
from refbp.conv_transpose import ConvTranspose2d as ConvTranspose2d
from refbp.conv_transpose import ConvTranspose3d as ConvTranspose3d
from refbp.dropout import AlphaDropout as AlphaDropout
from refbp.dropout import Dropout as Dropout
from refbp.dropout import Dropout1d as Dropout1d
from refbp.dropout import Dropout2d as Dropout2d
from refbp.dropout import Dropout3d as Dropout3d
from refbp.layer import Layer as Layer
from refbp.layer import Parameter as Parameter
from refbp.linear import Linear as Linear
from refbp.loss import Loss as Loss
from refbp.lp_pooling import LPPool1d as LPPool1d
from refbp.lp_pooling import LPPool2d as LPPool2d
from refbp.lp_pooling import LPPool3d as LPPool3d
from refbp.margin_losses import CosineEmbeddingLoss as CosineEmbeddingLoss
from refbp.margin_losses import HingeEmbeddingLoss as HingeEmbeddingLoss
from refbp.margin_losses import MarginRankingLoss as MarginRankingLoss
from refbp.margin_losses import MultiLabelMarginLoss as MultiLabelMarginLoss
from refbp.margin_losses import MultiLabelSoftMarginLoss as MultiLabelSoftMarginLoss
from refbp.margin_losses import MultiMarginLoss as MultiMarginLoss
from refbp.margin_losses import SoftMarginLoss as SoftMarginLoss
from refbp.max_pooling import MaxPool1d as MaxPool1d
from refbp.max_pooling import MaxPool2d as MaxPool2d
from refbp.max_pooling import MaxPool3d as MaxPool3d
from refbp.muon import Muon as Muon
from refbp.normalization import GroupNorm as GroupNorm
from refbp.normalization import LayerNorm as LayerNorm
from refbp.normalization import LocalResponseNorm as LocalResponseNorm
from refbp.normalization import RMSNorm as RMSNorm
from refbp.optimizer import Optimizer as Optimizer
from refbp.padding import CircularPad1d as CircularPad1d
from refbp.padding import CircularPad2d as CircularPad2d
from refbp.padding import CircularPad3d as CircularPad3d
from refbp.padding import ConstantPad1d as ConstantPad1d
from refbp.padding import ConstantPad2d as ConstantPad2d
from refbp.padding import ConstantPad3d as ConstantPad3d
from refbp.padding import ReflectionPad1d as ReflectionPad1d
from refbp.padding import ReflectionPad2d as ReflectionPad2d
from refbp.padding import ReflectionPad3d as ReflectionPad3d
from refbp.padding import ReplicationPad1d as ReplicationPad1d
from refbp.padding import ReplicationPad2d as ReplicationPad2d
from refbp.padding import ReplicationPad3d as ReplicationPad3d
from refbp.padding import ZeroPad1d as ZeroPad1d
from refbp.padding import ZeroPad2d as ZeroPad2d
from refbp.padding import ZeroPad3d as ZeroPad3d
from refbp.piecewise import Hardshrink as Hardshrink
from refbp.piecewise import Hardsigmoid as Hardsigmoid
from refbp.piecewise import Hardswish as Hardswish
from refbp.piecewise import Hardtanh as Hardtanh
from refbp.piecewise import LeakyReLU as LeakyReLU
from refbp.piecewise import PReLU as PReLU
from refbp.piecewise import ReLU as ReLU
from refbp.piecewise import ReLU6 as ReLU6
from refbp.piecewise import Softshrink as Softshrink
from refbp.piecewise import Threshold as Threshold
from refbp.regression_losses import GaussianNLLLoss as GaussianNLLLoss
from refbp.regression_losses import HuberLoss as HuberLoss
from refbp.regression_losses import KLDivLoss as KLDivLoss
from refbp.regression_losses import L1Loss as L1Loss
from refbp.regression_losses import MSELoss as MSELoss
from refbp.regression_losses import PoissonNLLLoss as PoissonNLLLoss
from refbp.regression_losses import SmoothL1Loss as SmoothL1Loss
from refbp.reshape import Flatten as Flatten
from refbp.reshape import Identity as Identity
from refbp.reshape import PixelShuffle as PixelShuffle
from refbp.reshape import PixelUnshuffle as PixelUnshuffle
from refbp.reshape import Unflatten as Unflatten
from refbp.softmax import GLU as GLU
from refbp.softmax import LogSoftmax as LogSoftmax
from refbp.softmax import Softmax as Softmax
from refbp.softmax import Softmax2d as Softmax2d
from refbp.softmax import Softmin as Softmin
from refbp.update_rules import ASGD as ASGD
from refbp.update_rules import SGD as SGD
from refbp.update_rules import Rprop as Rprop
from refbp.upsampling import Upsample as Upsample

__version__ = "0.2.0"
__all__ = [name for name, value in globals().items() if isinstance(value, type) or name == "functional"]
