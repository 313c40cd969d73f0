"""The mathematics without state: each op returns its output and its backward.

    y, backward = refbp.functional.conv2d(x, weight, bias)
    grad_input, grad_weight, grad_bias = backward(grad_output)

Names, arguments and defaults are those of torch.nn.functional, and for flatten, unflatten and identity those of torch or of
the layer. What torch deprecates, `inplace`, `dtype` and the weight of the regression losses are left out; convolutions also
take padding_mode, upsample recompute_scale_factor, dropouts a mask and the generator that draws one.

`backward` belongs to the call that returned it and may be called again. It returns one array for an op of one array, else a
tuple, in the order of the arguments: None for one that was None or that the op does not differentiate, and no place at all
for running statistics. A loss's `backward()` takes 1 for grad_output unless told otherwise, and its reduction is explained at
`refbp.Loss`. The update rules sgd, adam, rmsprop and adagrad return the new parameter and the new state instead.

Arrays are of a floating-point dtype, class indices and masks excepted; none is changed. An input or a grad_output of another
kind, or a grad_output that has not the output's shape, is a ValueError; NaN and infinities come without a warning.
"""

from refbp.activations import (
    celu,
    elu,
    gelu,
    logsigmoid,
    mish,
    selu,
    sigmoid,
    silu,
    softplus,
    softsign,
    tanh,
    tanhshrink,
)
from refbp.adagrad_rules import adadelta, adafactor, adagrad, rmsprop
from refbp.adam_rules import adam, adamax, nadam, radam
from refbp.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
)
from refbp.avg_pooling import avg_pool1d, avg_pool2d, avg_pool3d
from refbp.batch_norm import batch_norm, instance_norm
from refbp.classification_losses import binary_cross_entropy, binary_cross_entropy_with_logits, cross_entropy, nll_loss
from refbp.conv import conv1d, conv2d, conv3d
from refbp.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from refbp.dropout import alpha_dropout, dropout
from refbp.linear import linear
from refbp.lp_pooling import lp_pool1d, lp_pool2d, lp_pool3d
from refbp.margin_losses import (
    cosine_embedding_loss,
    hinge_embedding_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    multilabel_soft_margin_loss,
    soft_margin_loss,
)
from refbp.max_pooling import max_pool1d, max_pool2d, max_pool3d
from refbp.normalization import group_norm, layer_norm, local_response_norm, rms_norm
from refbp.padding import pad
from refbp.piecewise import (
    hardshrink,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    prelu,
    relu,
    relu6,
    softshrink,
    threshold,
)
from refbp.regression_losses import (
    gaussian_nll_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    poisson_nll_loss,
    smooth_l1_loss,
)
from refbp.reshape import flatten, identity, pixel_shuffle, pixel_unshuffle, unflatten
from refbp.softmax import glu, log_softmax, softmax, softmin
from refbp.update_rules import asgd, rprop, sgd
from refbp.upsampling import upsample

__all__ = [
    "adadelta",
    "adafactor",
    "adagrad",
    "adam",
    "adamax",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "alpha_dropout",
    "asgd",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "celu",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "cosine_embedding_loss",
    "cross_entropy",
    "dropout",
    "elu",
    "flatten",
    "gaussian_nll_loss",
    "gelu",
    "glu",
    "group_norm",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hinge_embedding_loss",
    "huber_loss",
    "identity",
    "instance_norm",
    "kl_div",
    "l1_loss",
    "layer_norm",
    "leaky_relu",
    "linear",
    "local_response_norm",
    "log_softmax",
    "logsigmoid",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "margin_ranking_loss",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "mish",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "nadam",
    "nll_loss",
    "pad",
    "pixel_shuffle",
    "pixel_unshuffle",
    "poisson_nll_loss",
    "prelu",
    "radam",
    "relu",
    "relu6",
    "rms_norm",
    "rmsprop",
    "rprop",
    "selu",
    "sgd",
    "sigmoid",
    "silu",
    "smooth_l1_loss",
    "soft_margin_loss",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "unflatten",
    "upsample",
]
