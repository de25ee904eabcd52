"""Full batch, mini-batches, single rows and Adam on the same loss: the paths they take, smooth and noisy."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer

from fastnn import SGD, Adam, Architecture, Network, Trainer

# Is a tumour malignant, judged by its mean radius alone? One input and one output: a weight and a bias are
# all there is to learn, so the loss is a landscape that can be drawn.
X, y = load_breast_cancer(return_X_y=True)
X = (X[:, :1] - X[:, 0].mean()) / X[:, 0].std()
y = y == 0  # scikit-learn counts malignant as 0
n, start = len(X), (-1.0, 2.0)


def network(weight, bias):
    layer = Architecture((1, 1), output_activation="logistic", loss="cross_entropy")
    return Network.from_arrays(layer, [[[weight]]], [[bias]], dtype="float32")


def descend(optimizer, batch_size, epochs=12):
    """Rows seen, weight, bias and loss over all rows at the start and after every step: (4, steps + 1)."""
    model, random = network(*start), np.random.default_rng(0)
    # An epoch over the rows of one batch is one step: that is how to look at the parameters after every step.
    trainer = Trainer(model, optimizer, batch_size="full", shuffle=False, n_iter_no_change=np.inf)
    path = [(0, *start, model.loss(X, y))]
    for _ in range(epochs):
        for batch in np.split(random.permutation(n), range(batch_size, n, batch_size)):
            trainer.run(X[batch], y[batch], epochs=1)
            path.append((trainer.samples_seen, model.weights[0][0, 0], model.biases[0][0], model.loss(X, y)))
    return np.array(path).T


plain = SGD(learning_rate=0.5)  # one rate for three: they differ in nothing but the rows of a step
far = descend(plain, n, epochs=500)
_, best_weight, best_bias, smallest = far[:, -1]
print(f"smallest loss {smallest:.4f}, at weight {best_weight:.2f} and bias {best_bias:.2f}")
runs = (  # the numbers at the end: where the picture has room for the name
    ("full batch", plain, n, (700, 1.65)),
    ("mini-batch", plain, 32, (280, 0.78)),
    ("SGD", plain, 1, (3, 0.9)),
    ("Adam", Adam(learning_rate=0.2), 32, (80, 0.5)),
)

plt.style.use(Path(__file__).with_name("pictures.mplstyle"))
figure = plt.figure(figsize=(10, 6))
left, right = figure.subfigures(1, 2, width_ratios=(5, 4))
maps, curves = left.subplots(2, 2, sharex=True, sharey=True), right.subplots()
weight, bias = np.meshgrid(np.linspace(-1.5, 5.5, 40), np.linspace(-3, 2.5, 40))
loss = np.vectorize(lambda w, b: network(w, b).loss(X, y))(weight, bias)
levels = np.geomspace(smallest * 1.01, loss.max(), 12)
for k, (axes, (name, optimizer, batch_size, place)) in enumerate(zip(maps.flat, runs, strict=True)):
    seen, weights, biases, losses = descend(optimizer, batch_size)
    steps, width = len(losses) - 1, 0.6 if batch_size == 1 else 1.5
    print(f"{name:<10} {steps:5d} steps to loss {losses[-1]:.4f}, {np.mean(np.diff(losses) > 0):.0%} upwards")
    axes.contour(weight, bias, loss, levels, colors="#BBBBBB", linewidths=0.8)
    axes.plot(weights, biases, f".-C{k}" if batch_size == n else f"C{k}", linewidth=width)
    axes.plot(best_weight, best_bias, "k+", markersize=10)
    axes.set(title=f"{name}: {steps} steps\nbatch size {batch_size}", xlabel="weight", ylabel="bias")
    axes.grid(False)
    axes.label_outer()
    # The start, when no row has been seen, is drawn at 1: a logarithmic axis has no 0.
    curves.step(np.maximum(seen, 1), losses, f"C{k}", where="post", linewidth=width, zorder=2 + width)
    curves.text(*place, name, color=f"C{k}")
maps[0, 0].plot(*far[1:3], ":C0")
maps[0, 0].text(1.4, 0.1, "500 steps", color="C0")
maps[0, 0].text(3.7, -1.3, "minimum", ha="center")
curves.set(title="Loss over all rows (log scale)", xlabel="rows seen (log scale)", xscale="log", yscale="log")
curves.set(yticks=(0.3, 0.5, 1, 1.5), yticklabels=(0.3, 0.5, 1, 1.5))
curves.xaxis.set_major_formatter("{x:g}")
curves.minorticks_off()

path = Path(sys.argv[1] if len(sys.argv) > 1 else "gradient_descent_variants.png")
figure.savefig(path)
print(f"picture: {path}")
