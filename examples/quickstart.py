"""Train a classifier on pictures of handwritten digits and look at what it has learned."""

import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import fastnn

# 1797 pictures of 8 x 8 pixels, each a row of 64 numbers. They come as 0 to 16: small inputs train better.
# float32 is all the precision that training needs, and half the memory of float64.
X, y = load_digits(return_X_y=True)
X = (X / 16).astype("float32")
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

# 64 pixels in, 64 hidden units (ReLU unless told otherwise), one output for each digit; 32 rows a step.
model = fastnn.MLPClassifier(hidden_layer_sizes=(64,), batch_size=32, random_state=0)

# The first fit on a machine compiles the training loop and keeps it on disk; in later processes it is loaded.
for which in ("first", "second"):
    start = time.perf_counter()
    model.fit(X_train, y_train)
    seconds = time.perf_counter() - start
    print(f"{which} fit: {seconds:.2f} s for {model.n_iter_} passes over {len(X_train)} rows")

probability = model.predict_proba(X_test)
predicted = model.classes_[probability.argmax(axis=1)]
wrong = predicted != y_test
print(f"held-out accuracy: {model.score(X_test, y_test):.3f} ({wrong.sum()} of {len(y_test)} digits wrong)")
certainty = probability.max(axis=1)
print(f"mean probability it gives its answer: {certainty[~wrong].mean():.2f} when right, ", end="")
print(f"{certainty[wrong].mean():.2f} when wrong")

plt.style.use(Path(__file__).with_name("pictures.mplstyle"))
figure = plt.figure(figsize=(9, 5))
left, right = figure.subfigures(1, 2, width_ratios=(4, 5))

axes = left.subplots()
axes.plot(np.arange(1, model.n_iter_ + 1), model.loss_curve_)
axes.set(xlabel="epoch (one pass over the training rows)", yscale="log")
axes.yaxis.set_major_formatter("{x:g}")
axes.set_title("Training loss (log scale)")

# Most digits are easy. The ones it is least sure of teach more.
easy, hard = np.flatnonzero(certainty > 0.99)[:5], certainty.argsort()[:10]
groups = right.subfigures(2, 1, height_ratios=(1.2, 2))
groups[0].suptitle("Its answer, and how probable it thinks that is", x=0.01, ha="left", fontsize=12)
groups[1].suptitle("The ten test digits it is least sure of", x=0.01, ha="left", fontsize=12)
grids = [groups[0].subplots(1, 5), *groups[1].subplots(2, 5)]
for axes, row in zip(np.ravel(grids), [*easy, *hard], strict=True):
    axes.imshow(X_test[row].reshape(8, 8), cmap="gray_r")
    axes.axis("off")
    answer = f"{predicted[row]}: {certainty[row]:.0%}"
    truth = f"\nno, it is {y_test[row]}" if wrong[row] else "\n" * (row in hard)
    axes.set_title(answer + truth, loc="center", fontsize=11, color="#D55E00" if wrong[row] else "black")

path = Path(sys.argv[1] if len(sys.argv) > 1 else "quickstart.png")
figure.savefig(path)
print(f"picture: {path}")
