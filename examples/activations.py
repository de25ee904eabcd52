"""What the activation functions make of a weighted sum, and how much of a gradient they let through."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from fastnn import Architecture, Network

z = np.linspace(-5, 5, 201)  # the weighted sum that a unit gets


def unit(activation):
    """Output (201,) of one unit, and the derivative (201,) of its output by z."""
    # With weight 1 and bias 0 the weighted sum is the input itself.
    layer = Architecture((1, 1), output_activation=activation)
    network = Network.from_arrays(layer, [np.eye(1)], [np.zeros(1)], dtype="float32")
    _, output = network.activations(z.reshape(-1, 1))
    slope = []
    for value, a in zip(z, output, strict=True):
        # The loss is (a - y)**2 / 2, so for the target y = a - 1 its derivative by a is 1. What is then found
        # for the bias, which is a part of z, is the derivative of the activation and nothing else.
        _, _, by_bias = network.loss_and_gradient([[value]], [a - 1])
        slope.append(by_bias[0][0])
    return output[:, 0], np.array(slope)


def softmax():
    """Probabilities (201, 3) of three classes with weighted sums z, 1 and 0, and their derivatives by z."""
    layer = Architecture((3, 3), output_activation="softmax", loss="cross_entropy")
    network = Network.from_arrays(layer, [np.eye(3)], [np.zeros(3)], dtype="float32")
    sums = np.column_stack([z, np.ones(201), np.zeros(201)])
    _, probability = network.activations(sums)
    slope = np.empty((201, 3))
    for i, row in enumerate(sums):
        for k in range(3):
            # The loss of class k is -log(p), so by the chain rule dp/dz = -p * dloss/dz.
            _, _, by_bias = network.loss_and_gradient([row], [k])
            slope[i, k] = -probability[i, k] * by_bias[0][0]
    return probability, slope


plt.style.use(Path(__file__).with_name("pictures.mplstyle"))
# One scale for a whole row, so that slopes can be compared across it.
figure, (upper, lower) = plt.subplots(2, 4, figsize=(10, 6), sharex=True, sharey="row")
upper[0].set(ylim=(-1.15, 2.2), xticks=(-4, -2, 0, 2, 4), ylabel="output")
lower[0].set(ylim=(-0.3, 1.15), yticks=(-0.25, 0, 0.25, 0.5, 0.75, 1), ylabel="derivative of the output by z")

print("derivative  at z = -4     at 0     at 4  largest")
names, remarks = ("ReLU", "sigmoid", "tanh"), ("0 or 1", "1/4 at most", "1 at most")
for column, activation in enumerate(("relu", "logistic", "tanh")):
    output, slope = unit(activation)
    values = (slope[20], slope[100], slope[180], slope.max())  # z[20] is -4, z[100] 0 and z[180] 4
    print(f"{names[column]:<12}", *(f"{value:8.4f}" for value in values))
    upper[column].plot(z, output)
    lower[column].plot(z, slope)
    upper[column].set_title(names[column])
    lower[column].text(0, slope.max() + 0.03, remarks[column], ha="center")
print(f"A gradient that goes back through ten sigmoids is multiplied by {0.25**10:.0e} at most: it vanishes.")

probability, slope = softmax()
upper[3].plot(z, probability)
lower[3].plot(z, slope)
upper[3].set_title("softmax of z, 1 and 0")
for k, (own, *place) in enumerate((("z", 0.2, 1.08), ("1", -4.9, 0.8), ("0", -4.9, 0.34))):
    upper[3].text(*place, f"class with {own}", color=f"C{k}")
lower[3].text(0, 0.28, "one class gains ...", color="C0", ha="center")
lower[3].text(0, -0.27, "... the others lose", ha="center")
for axes in lower:
    axes.set_xlabel("weighted sum z")

path = Path(sys.argv[1] if len(sys.argv) > 1 else "activations.png")
figure.savefig(path)
print(f"picture: {path}")
