"""The mathematics without state: each op returns its output and its backward.

    y, backward = refbp.functional.conv2d(x, weight, bias)
    grad_input, grad_weight, grad_bias = backward(grad_output)

Names, arguments and defaults are those of torch.nn.functional. flatten and unflatten are those of torch, identity that of
torch.nn. Deprecated arguments, `inplace`, `dtype` and the weight of the regression losses are left out. Convolutions also take
padding_mode, upsample takes recompute_scale_factor, and dropouts take mask and rng, the generator that draws the mask.

`backward` belongs to the call that returned it and may be called again. It returns one gradient if the op takes one array, else
a tuple of gradients in the order of the array arguments. Running statistics have no entry. An entry is None for an argument that
was None or that the op does not differentiate. A loss's `backward()` takes a grad_output of 1 by default; `refbp.Loss` explains
its reduction. The update rules, such as sgd and adam, return the new parameter and the new state instead.

Arrays have a floating-point dtype, except class indices and masks. No argument is changed. An input or grad_output of another
kind raises a ValueError, and so does a grad_output whose shape is not the output's. NaN and infinities cause no warning.
"""

from types import FunctionType

from refbp import (
    activations,
    adagrad_rules,
    adam_rules,
    adaptive_pooling,
    avg_pooling,
    checks,
    classification_losses,
    conv,
    conv_transpose,
    lp_pooling,
    margin_losses,
    max_pooling,
    normalization,
    padding,
    piecewise,
    ranks,
    regression_losses,
    reshape,
    update_rules,
    upsampling,
)
from refbp import batch_norm as _batch_norm
from refbp import dropout as _dropout
from refbp import linear as _linear
from refbp import muon as _muon
from refbp import softmax as _softmax

celu = checks.checked(activations.celu)
elu = checks.checked(activations.elu)
gelu = checks.checked(activations.gelu)
logsigmoid = checks.checked(activations.logsigmoid)
mish = checks.checked(activations.mish)
selu = checks.checked(activations.selu)
sigmoid = checks.checked(activations.sigmoid)
silu = checks.checked(activations.silu)
softplus = checks.checked(activations.softplus)
softsign = checks.checked(activations.softsign)
tanh = checks.checked(activations.tanh)
tanhshrink = checks.checked(activations.tanhshrink)

adaptive_avg_pool1d = checks.checked(ranks.of_rank(adaptive_pooling.adaptive_avg_pool, 1))
adaptive_avg_pool2d = checks.checked(ranks.of_rank(adaptive_pooling.adaptive_avg_pool, 2))
adaptive_avg_pool3d = checks.checked(ranks.of_rank(adaptive_pooling.adaptive_avg_pool, 3))
adaptive_max_pool1d = checks.checked(ranks.of_rank(adaptive_pooling.adaptive_max_pool, 1))
adaptive_max_pool2d = checks.checked(ranks.of_rank(adaptive_pooling.adaptive_max_pool, 2))
adaptive_max_pool3d = checks.checked(ranks.of_rank(adaptive_pooling.adaptive_max_pool, 3))

avg_pool1d = checks.checked(avg_pooling.avg_pool1d)
avg_pool2d = checks.checked(ranks.of_rank(avg_pooling.avg_pool, 2))
avg_pool3d = checks.checked(ranks.of_rank(avg_pooling.avg_pool, 3))

batch_norm = checks.checked(_batch_norm.batch_norm)
instance_norm = checks.checked(_batch_norm.instance_norm)

binary_cross_entropy = checks.checked_loss(classification_losses.binary_cross_entropy)
binary_cross_entropy_with_logits = checks.checked_loss(classification_losses.binary_cross_entropy_with_logits)
cross_entropy = checks.checked_loss(classification_losses.cross_entropy)
nll_loss = checks.checked_loss(classification_losses.nll_loss)

conv1d = checks.checked(ranks.of_rank(conv.conv, 1))
conv2d = checks.checked(ranks.of_rank(conv.conv, 2))
conv3d = checks.checked(ranks.of_rank(conv.conv, 3))

conv_transpose1d = checks.checked(ranks.of_rank(conv_transpose.conv_transpose, 1))
conv_transpose2d = checks.checked(ranks.of_rank(conv_transpose.conv_transpose, 2))
conv_transpose3d = checks.checked(ranks.of_rank(conv_transpose.conv_transpose, 3))

alpha_dropout = checks.checked(_dropout.alpha_dropout)
dropout = checks.checked(_dropout.dropout)

linear = checks.checked(_linear.linear)

lp_pool1d = checks.checked(ranks.of_rank(lp_pooling.lp_pool, 1))
lp_pool2d = checks.checked(ranks.of_rank(lp_pooling.lp_pool, 2))
lp_pool3d = checks.checked(ranks.of_rank(lp_pooling.lp_pool, 3))

cosine_embedding_loss = checks.checked_loss(margin_losses.cosine_embedding_loss)
hinge_embedding_loss = checks.checked_loss(margin_losses.hinge_embedding_loss)
margin_ranking_loss = checks.checked_loss(margin_losses.margin_ranking_loss)
multi_margin_loss = checks.checked_loss(margin_losses.multi_margin_loss)
multilabel_margin_loss = checks.checked_loss(margin_losses.multilabel_margin_loss)
multilabel_soft_margin_loss = checks.checked_loss(margin_losses.multilabel_soft_margin_loss)
soft_margin_loss = checks.checked_loss(margin_losses.soft_margin_loss)

max_pool1d = checks.checked(ranks.of_rank(max_pooling.max_pool, 1))
max_pool2d = checks.checked(ranks.of_rank(max_pooling.max_pool, 2))
max_pool3d = checks.checked(ranks.of_rank(max_pooling.max_pool, 3))

group_norm = checks.checked(normalization.group_norm)
layer_norm = checks.checked(normalization.layer_norm)
local_response_norm = checks.checked(normalization.local_response_norm)
rms_norm = checks.checked(normalization.rms_norm)

pad = checks.checked(padding.pad)

hardshrink = checks.checked(piecewise.hardshrink)
hardsigmoid = checks.checked(piecewise.hardsigmoid)
hardswish = checks.checked(piecewise.hardswish)
hardtanh = checks.checked(piecewise.hardtanh)
leaky_relu = checks.checked(piecewise.leaky_relu)
prelu = checks.checked(piecewise.prelu)
relu = checks.checked(piecewise.relu)
relu6 = checks.checked(piecewise.relu6)
softshrink = checks.checked(piecewise.softshrink)
threshold = checks.checked(piecewise.threshold)

gaussian_nll_loss = checks.checked_loss(regression_losses.gaussian_nll_loss)
huber_loss = checks.checked_loss(regression_losses.huber_loss)
kl_div = checks.checked_loss(regression_losses.kl_div)
l1_loss = checks.checked_loss(regression_losses.l1_loss)
mse_loss = checks.checked_loss(regression_losses.mse_loss)
poisson_nll_loss = checks.checked_loss(regression_losses.poisson_nll_loss)
smooth_l1_loss = checks.checked_loss(regression_losses.smooth_l1_loss)

flatten = checks.checked(reshape.flatten)
identity = checks.checked(reshape.identity)
pixel_shuffle = checks.checked(reshape.pixel_shuffle)
pixel_unshuffle = checks.checked(reshape.pixel_unshuffle)
unflatten = checks.checked(reshape.unflatten)

glu = checks.checked(_softmax.glu)
log_softmax = checks.checked(_softmax.log_softmax)
softmax = checks.checked(_softmax.softmax)
softmin = checks.checked(_softmax.softmin)

adadelta = adagrad_rules.adadelta
adafactor = adagrad_rules.adafactor
adagrad = adagrad_rules.adagrad
rmsprop = adagrad_rules.rmsprop
adam = adam_rules.adam
adamax = adam_rules.adamax
nadam = adam_rules.nadam
radam = adam_rules.radam
muon = _muon.muon
asgd = update_rules.asgd
rprop = update_rules.rprop
sgd = update_rules.sgd

upsample = checks.checked(upsampling.upsample)

__all__ = [name for name, value in globals().items() if isinstance(value, FunctionType)]
