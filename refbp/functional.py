"""The mathematics without state: each op returns its output and its backward."""

from refbp.activations import leaky_relu as leaky_relu
from refbp.activations import relu as relu
from refbp.activations import sigmoid as sigmoid
from refbp.activations import tanh as tanh
from refbp.conv import conv2d as conv2d
from refbp.dropout import dropout as dropout
from refbp.linear import linear as linear
from refbp.losses import binary_cross_entropy as binary_cross_entropy
from refbp.losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from refbp.losses import cross_entropy as cross_entropy
from refbp.losses import mse_loss as mse_loss
from refbp.losses import nll_loss as nll_loss
from refbp.optim import sgd as sgd
from refbp.pooling import avg_pool2d as avg_pool2d
from refbp.pooling import max_pool2d as max_pool2d
from refbp.reshape import flatten as flatten
from refbp.reshape import identity as identity
from refbp.softmax import log_softmax as log_softmax
from refbp.softmax import softmax as softmax
