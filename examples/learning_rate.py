"""One loss, three learning rates: too small crawls, right converges, too large diverges.

A step of gradient descent goes against the gradient: new weight = old weight - learning rate * gradient.
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes

from fastnn import SGD, Architecture, Network, Trainer

# How far diabetes has progressed a year later, from the body mass index: a line through 442 patients. Both
# columns are standardised; then the best bias is 0 and stays there, and the loss is a curve over one weight.
X, y = load_diabetes(return_X_y=True)
X = X[:, [2]] / X[:, 2].std()
y = (y - y.mean()) / y.std()
START = -1.4


def line(weight):
    return Network.from_arrays(Architecture((1, 1)), [[[weight]]], [[0.0]], dtype="float32")


def descend(learning_rate, epochs):
    """Why it ended; the weight and the loss at the start and after every step over all rows."""
    network = line(START)
    weights = [START]
    # No limit to idle epochs: otherwise training would stop by itself once the loss no longer falls.
    trainer = Trainer(network, SGD(learning_rate), batch_size="full", shuffle=False, n_iter_no_change=np.inf)
    status = trainer.run(X, y, epochs=epochs, on_epoch=lambda _: weights.append(network.weights[0][0, 0]))
    # A loss of the history is from before its step, as the forward pass finds it.
    return status, weights, trainer.history.loss


plt.style.use(Path(__file__).with_name("pictures.mplstyle"))
figure = plt.figure(figsize=(9, 7))
upper, lower = figure.subfigures(2, 1)
bowls, curves = upper.subplots(1, 3, sharex=True, sharey=True), lower.subplots()
grid = np.linspace(-3.4, 4.6, 100)
bowl = [line(weight).loss(X, y) for weight in grid]

verdicts = ("too small: it crawls", "right: it converges", "too large: it diverges")
places = ((25, 1.25), (25, 0.37), (13, 50))
for k, (rate, verdict) in enumerate(zip((0.02, 0.4, 2.15), verdicts, strict=True)):
    status, weights, losses = descend(rate, epochs=2000)
    print(f"{rate} is {verdict}. Loss {losses[0]:.2f}, {losses[10]:.2f} after 10 steps, ", end="")
    print(f"{losses[50]:.4g} after 50; {status!r} after {len(losses)}, at weight {weights[-1]:.2f}")
    bowls[k].plot(grid, bowl, color="#BBBBBB")
    bowls[k].plot(weights[:9], losses[:9], f".-C{k}", linewidth=1, markersize=9)
    bowls[k].set_title(f"{rate} is {verdict}", color=f"C{k}")
    bowls[k].set_xlabel("weight")
    curves.plot(losses[:51], f"C{k}")
    curves.text(*places[k], verdict, color=f"C{k}")
bowls[0].set(xlim=(-3.5, 4.7), ylim=(0, 7.5), ylabel="loss")
curves.set(xlabel="steps taken, each over all rows", ylabel="loss (log scale)", ylim=(0.2, 120), yscale="log")
curves.yaxis.set_major_formatter("{x:g}")

path = Path(sys.argv[1] if len(sys.argv) > 1 else "learning_rate.png")
figure.savefig(path)
print(f"picture: {path}")
