"""ONNX Runtime, which predicts only: the network as a graph of its own operators."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks import problems
from benchmarks.problems import Problem

OPSET, IR_VERSION = 17, 8  # what every runtime of the last years reads


@dataclass
class Job:
    problem: Problem
    rows: Any
    y: Any
    threads: int
    session: Any
    output: Any = None


def prepare(problem: Problem, X: Any, y: Any, threads: int | None) -> Job:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(_graph(problem), options, providers=["CPUExecutionProvider"])
    return Job(problem, problems.pieces(problem, X, y), y, threads or 1, session)


def _graph(problem: Problem) -> bytes:
    """Gemm and activation for each layer, softmax at the end."""
    weights, biases, _ = problems.initial(problem)
    nodes, constants, name = [], [], "X"
    for index, (w, b) in enumerate(zip(weights, biases, strict=True)):
        constants += [numpy_helper.from_array(w, f"w{index}"), numpy_helper.from_array(b, f"b{index}")]
        nodes.append(helper.make_node("Gemm", [name, f"w{index}", f"b{index}"], [f"z{index}"]))
        last = index == len(weights) - 1
        kind = "Softmax" if last else {"relu": "Relu", "tanh": "Tanh"}[problem.activation]
        name = "output" if last else f"a{index}"
        nodes.append(helper.make_node(kind, [f"z{index}"], [name]))
    number = TensorProto.FLOAT if problem.dtype == "float32" else TensorProto.DOUBLE
    ends = [helper.make_tensor_value_info("X", number, [None, problem.sizes[0]])]
    outs = [helper.make_tensor_value_info("output", number, [None, problem.sizes[-1]])]
    graph = helper.make_graph(nodes, "network", ends, outs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return bytes(model.SerializeToString())


def run(job: Job, epochs: int) -> None:
    for _ in range(epochs):
        job.output = [job.session.run(None, {"X": X})[0] for X, _ in job.rows]


def final_loss(job: Job) -> float:
    return problems.mean_log_loss(np.concatenate(job.output), job.y)


def threads(job: Job) -> int:
    return job.threads


def versions() -> dict[str, str]:
    import onnx

    return {"onnxruntime": onnxruntime.__version__, "onnx": onnx.__version__}
