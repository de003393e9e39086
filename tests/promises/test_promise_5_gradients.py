"""Promise 5: value and gradient belong together."""

from __future__ import annotations

import numpy as np
from promise_support import build, data_of

import minigrad as mg


def test_5_the_whole_model_is_differentiated_right() -> None:
    """Loss and nested model together: every parameter and the input, against central differences in
    float64.
    """
    model, loss = (
        build(np.float64),
        mg.SoftmaxCrossEntropy(label_smoothing=0.1, class_weight=[1, 2, 3]),
    )
    x, y = data_of(np.float64, n=5)
    vector = mg.ParameterVector.of(model)
    loss.forward(model(x), y)
    below = model.backward(loss.backward(), input_grad=True)
    assert below is not None
    for array, found in ((vector.values, vector.grads.copy()), (x, below)):
        expected = np.zeros_like(array)
        for place in np.ndindex(array.shape):
            kept, ends = array[place], []
            for eps in (1e-6, -1e-6):
                array[place] = kept + eps
                ends.append(loss.forward(model(x), y))
            array[place] = kept
            expected[place] = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_5_the_gradient_is_that_of_the_value_returned_last() -> None:
    """Looking at the losses of other samples between forward and backward does not change the
    gradient.
    """
    loss = mg.SoftmaxCrossEntropy()
    logits, labels = np.array([[1.0, 2.0], [0.5, 0.0]]), np.array([0, 1])
    value = loss.forward(logits, labels)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True) / 2
    expected[[0, 1], labels] -= 0.5
    loss.per_sample(np.array([[9.0, -3.0]]), np.array([0]))
    assert value == loss.value
    np.testing.assert_allclose(loss.backward(), expected, rtol=1e-12)


def test_5_the_first_layers_input_gradient_is_left_out_but_nothing_else() -> None:
    """`backward(grad)` and `backward(grad, input_grad=True)` write the same gradients.

    Only one returns something.
    """
    model, x = build(np.float64), data_of(np.float64)[0]
    output = model(x)
    assert model.backward(output) is None
    without = mg.ParameterVector.of(model).grads.tobytes()
    model(x)
    below = model.backward(output, input_grad=True)
    assert below is not None
    assert without == mg.ParameterVector.of(model).grads.tobytes()
