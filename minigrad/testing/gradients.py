"""`check_gradients`, which compares every gradient with differences."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from minigrad._messages import described
from minigrad._validation import float_array, number
from minigrad.arrays import Seed
from minigrad.display.words import in_words
from minigrad.errors import CallOrderError, GradientError, KindError
from minigrad.layers.layer import Layer
from minigrad.losses import Loss
from minigrad.randomness import generator
from minigrad.testing.backward_parameters import check_backward_parameters
from minigrad.testing.directions import along_all, directions
from minigrad.testing.line import Tolerance
from minigrad.testing.perturbation import perturb
from minigrad.testing.subject import LayerSubject, LossSubject, in_float64
from minigrad.testing.tensor_check import TensorCheck


def check_gradients(
    layer_or_loss: Layer | Loss,
    x: npt.ArrayLike,
    targets: npt.ArrayLike | None = None,
    *,
    eps: float = 1e-6,
    rtol: float = 1e-5,
    atol: float = 1e-7,
    perturbation: float = 0.1,
    rng: Seed = 0,
) -> None:
    """Compare every gradient with central differences in float64.

    These are (f(v + eps) - f(v - eps)) / (2 eps). A layer is reduced to one number by a random
    weighting of its outputs. It runs in its current mode, as a copy that computes in float64, so it
    stays as it is; a layer that draws random numbers from a generator of its own, such as Dropout,
    draws the same ones each time; its buffers, such as running statistics, are put back each time.

    - Gradients are compared at the given values, and once more after input and parameters have been
      moved a little at random: at zeros, ones or a symmetric weight, a missing transpose makes no
      difference. Where the layer does not take values so moved, or gives NaN for them, fewer are
      moved, or none.
    - At a kink, such as a relu at exactly 0, a gradient must be the slope from the left, that from
      the right, or between. Where forward jumps there is no derivative, and nothing is compared.
    - Forward and backward run several times, and must give the same each time.
    - A `backward_parameters` that the layer or one inside overrides must leave the gradients that
      `backward` does.

    Args:
        layer_or_loss: What to check.
        x: An input, shape (batch, ...); for a loss the logits.
        targets: For a loss, its targets.
        eps: Half the distance of the differences.
        rtol: The largest difference allowed, relative to the larger of both.
        atol: The largest difference allowed in any case, relative to the tensor's largest gradient.
        perturbation: How far values are moved, relative to their size; 0 checks at the given values
            only.
        rng: A seed or a generator for weighting, directions and moves.

    Raises:
        GradientError: A gradient is not the derivative; says which tensor and entry, both numbers,
            and what they have in common if anything. Or that could not be found out, and the
            message says why: forward is not repeatable, gives NaN, or rounds. Or something is
            changed in place, or a gradient is not assigned.
        KindError: Something is neither a layer nor a loss, forward returns no array or number, or
            targets are missing.
        ShapeError: A layer does not accept the input.
        CallOrderError: Nothing could be compared, as forward has no derivative in any entry.
    """
    number(eps, "eps", above=0)
    number(perturbation, "perturbation", least=0, most=1)
    rtol, atol = number(rtol, "rtol", least=0), number(atol, "atol", least=0)
    x64 = np.array(float_array(x, np.dtype(np.float64), "x of check_gradients"))
    # a stream of its own, also where the caller drew x with the same seed
    (random,) = generator(rng).spawn(1)
    if isinstance(layer_or_loss, Loss):
        if targets is None:
            raise KindError(
                f"check_gradients needs targets for a loss: "
                f"check_gradients({described(layer_or_loss)}, logits, targets)"
            )
        subject: LossSubject | LayerSubject = LossSubject(
            copy.deepcopy(layer_or_loss), x64, targets
        )
    elif isinstance(layer_or_loss, Layer):
        subject = LayerSubject(in_float64(layer_or_loss), x64, random)
    else:
        raise KindError(
            f"check_gradients got {described(layer_or_loss)}, expected a layer or a loss"
        )
    output = subject.checked("forward")
    if not np.isfinite(output).all():
        raise GradientError(
            f"{subject.name}: forward gives NaN or infinity for this input, so it has no "
            f"derivative: an output of {in_words(output)}, for an input of {in_words(x64)}; check "
            f"it where it is finite"
        )
    kind = type(layer_or_loss).__name__
    compared = _check_here(subject, kind, "", eps, rtol, atol, random)
    if perturbation and perturb(subject, perturbation, random):
        where = (
            f", with values moved at random by up to {perturbation:.0%}; at the given values it "
            f"seems right"
        )
        compared += _check_here(subject, kind, where, eps, rtol, atol, random)
    if compared == 0:
        raise CallOrderError(
            "check_gradients could not check anything: in every entry forward jumps, or its domain "
            "ends, or rounding hides all differences; use other inputs, or another eps"
        )


def _check_here(
    subject: LossSubject | LayerSubject,
    kind: str,
    where: str,
    eps: float,
    rtol: float,
    atol: float,
    rng: np.random.Generator,
) -> int:
    """Check all gradients at the present values; returns how many differences were compared."""
    grads = subject.gradients()
    magnitude = float(np.linalg.norm(subject.forward() * subject.weighting))
    noise = 1e-9 * max(1.0, magnitude)  # what rounding leaves of a difference at the usual distance
    compared = 0
    for tensor, grad in zip(subject.tensors, grads, strict=True):
        if not np.isfinite(grad).all():
            raise GradientError(f"{kind}: {tensor.name} holds NaN or infinity{where}")
        tolerance = Tolerance(eps, rtol, atol * float(np.abs(grad).max(initial=0.0)) + noise)
        check = TensorCheck(subject, tensor, grad, tolerance, f"{kind}: {tensor.name}", where)
        compared += check.along(directions(grad.shape, rng))
        if grad.size > 1:
            # Tied maxima are a kink in each entry alone, but not where they move together.
            check.along([along_all(grad.shape)], split=False)
        check.expect_no_plateau(rng)
    if isinstance(subject, LayerSubject):
        check_backward_parameters(subject)
    return compared
