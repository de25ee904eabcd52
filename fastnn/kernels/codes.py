"""What a user chooses, as integers: one compiled function serves every network."""

IDENTITY, RELU, LOGISTIC, TANH, SOFTMAX, EXP = range(6)
ACTIVATIONS = {
    "identity": IDENTITY,
    "relu": RELU,
    "logistic": LOGISTIC,
    "tanh": TANH,
    "softmax": SOFTMAX,
    "exp": EXP,
}

SQUARED_ERROR, CROSS_ENTROPY, POISSON = range(3)
LOSSES = {"squared_error": SQUARED_ERROR, "cross_entropy": CROSS_ENTROPY, "poisson": POISSON}

SGD, MOMENTUM, NESTEROV, ADAM, GRADIENT_ONLY = range(5)

CONSTANT, INVSCALING, ADAPTIVE = range(3)
SCHEDULES = {"constant": CONSTANT, "invscaling": INVSCALING, "adaptive": ADAPTIVE}
