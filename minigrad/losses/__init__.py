"""The losses that come with minigrad, and their abstract base."""

from minigrad.losses.elementwise import ElementwiseLoss
from minigrad.losses.huber import Huber
from minigrad.losses.loss import BestConstant, Loss, Reduction
from minigrad.losses.mean_absolute_error import MeanAbsoluteError
from minigrad.losses.mean_squared_error import MeanSquaredError
from minigrad.losses.sigmoid_cross_entropy import SigmoidCrossEntropy
from minigrad.losses.softmax_cross_entropy import SoftmaxCrossEntropy

__all__ = [
    "BestConstant",
    "ElementwiseLoss",
    "Huber",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Reduction",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
]
