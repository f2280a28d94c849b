"""Sony's Model Compression Toolkit: bits by sensitivity and an integer program."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from benchmarks.peers.exporter import tracing_exporter
from benchmarks.peers.start import Start
from benchmarks.peers.tool import Found, Job, TimedTask, Tool
from benchmarks.peers.training import FOLDED, train
from sbs.training.classification import Classification

CANDIDATES = (8, 4, 2)
IMAGES = 32
"""Images that sensitivity is measured on, in its example of mixed precision."""

SHARED_BITS = 4
"""Bits of outputs that several layers read; its search under bit operations skips these."""

DOCUMENTATION = (
    "a platform with 2, 4 and 8 bits for weights and activations, made by `generate_tpc` as its "
    "source says; `ResourceUtilization(bops=…)`, 500 unlabelled images, sensitivity on 32 "
    "([mixed precision](https://github.com/sony/model_optimization/blob/main/tutorials/notebooks/"
    "mct_features_notebooks/pytorch/example_pytorch_mixed_precision_ptq.ipynb)); by "
    "`BitWidthConfig`, first and last weights at 8 bits, and 4 bits for what several layers read, "
    "because it warns that its search does not support these under bit operations"
)


def after_training(job: Job) -> Found:
    """Post-training quantization alone: no labels, no training."""
    import model_compression_toolkit as mct

    with job.meter.part("search", "all"):
        model, facts = mct.ptq.pytorch_post_training_quantization(
            job.start.network().eval(), **_arguments(job.start, job.target)
        )
    return _found(model, facts, job)


def with_training(job: Job) -> Found:
    """Its quantization-aware training, for the whole budget."""
    import model_compression_toolkit as mct

    with job.meter.part("search", "all"):
        model, facts = _prepared(job.start, job.target)
    train(job, "mct-training", model, "training", 2 * job.start.epochs, recipe=FOLDED)
    final = mct.qat.pytorch_quantization_aware_training_finalize_experimental(model)
    return _found(final.eval(), facts, job)


def _prepared(start: Start, target: float) -> tuple[nn.Module, Any]:
    """The network to train, and what its search says of it."""
    import model_compression_toolkit as mct

    model, facts = mct.qat.pytorch_quantization_aware_training_init_experimental(
        start.network().eval(), **_arguments(start, target)
    )
    return model, facts


def _arguments(start: Start, target: float) -> dict[str, Any]:
    """What its calls have in common."""
    import model_compression_toolkit as mct
    from model_compression_toolkit.core.common.network_editors import NodeNameFilter

    core = mct.core.CoreConfig(
        mixed_precision_config=mct.core.MixedPrecisionQuantizationConfig(
            num_of_images=IMAGES, use_hessian_based_scores=False
        )
    )
    for name in start.ends:
        core.bit_width_config.set_manual_weights_bit_width(NodeNameFilter(_node(name)), 8, "weight")
    for name in _shared_outputs(start.network()):
        core.bit_width_config.set_manual_activation_bit_width(NodeNameFilter(name), SHARED_BITS)
    return {
        "representative_data_gen": _representative(start),
        "target_resource_utilization": mct.core.ResourceUtilization(bops=target),
        "core_config": core,
        "target_platform_capabilities": _platform(),
    }


def _shared_outputs(model: nn.Module) -> list[str]:
    """Its names of the ReLUs that several layers read: all but those inside of blocks."""
    names = [name for name, one in model.named_modules() if isinstance(one, nn.ReLU)]
    return [name.replace(".", "_") for name in names if not name.endswith("relu1")][:-1]


def _representative(start: Start) -> Callable[[], Iterator[list[Tensor]]]:
    images = start.calibration()
    return lambda: ([batch] for batch in images)


def _platform() -> Any:
    """Its default platform, with all pairs of bits, also for what sums and ReLUs give."""
    from model_compression_toolkit.target_platform_capabilities.constants import (
        KERNEL_ATTR,
        WEIGHTS_N_BITS,
    )
    from model_compression_toolkit.target_platform_capabilities.schema import (
        mct_current_schema as schema,
    )
    from model_compression_toolkit.target_platform_capabilities.tpc_models.imx500_tpc.v1_0 import (
        tpc,
    )

    base, _, default = tpc.get_op_quantization_configs()
    pairs = [
        base.clone_and_edit(
            attr_to_edit={KERNEL_ATTR: {WEIGHTS_N_BITS: weights}},
            activation_n_bits=activations,
            supported_input_activation_n_bits=CANDIDATES,
        )
        for weights in CANDIDATES
        for activations in CANDIDATES
    ]
    default = default.clone_and_edit(supported_input_activation_n_bits=CANDIDATES)
    made = tpc.generate_tpc(default, pairs[0], pairs, name="bits_2_4_8")
    outputs = schema.QuantizationConfigOptions(
        quantization_configurations=tuple(
            default.clone_and_edit(activation_n_bits=bits) for bits in CANDIDATES
        ),
        base_config=default,
    )
    searched = (schema.OperatorSetNames.ADD, schema.OperatorSetNames.RELU)
    operators = tuple(
        schema.OperatorsSet(name=one.name, qc_options=outputs) if one.name in searched else one
        for one in made.operator_set
    )
    return made.model_copy(update={"operator_set": operators})


def _node(layer: str) -> str:
    """Its name of a layer; it folds batch norms into convolutions."""
    name = layer.replace(".", "_")
    return name if name == "fc" else f"{name}_bn"


def _found(model: Any, facts: Any, job: Job) -> Found:
    return Found(
        model,
        job.start.policy(_bits(model.graph, job.start)),
        {"onnx": partial(_export, model, job.start)},
        own_cost=float(facts.final_resource_utilization.bops),
    )


def _bits(graph: Any, start: Start) -> dict[str, tuple[int, int]]:
    """Bits of weights and inputs, by layer; those of inputs are where they were made."""
    nodes = {node.name: node for node in graph.nodes}
    bits = {}
    for shape in start.shapes:
        node = nodes[_node(shape.name)]
        weights = node.final_weights_quantization_cfg.get_attr_config("weight").weights_n_bits
        before = graph.get_prev_nodes(node)[0]
        while not before.is_activation_quantization_enabled():
            before = graph.get_prev_nodes(before)[0]
        inputs = before.final_activation_quantization_cfg.activation_n_bits
        bits[shape.name] = (int(weights), int(inputs))
    return bits


def _export(model: nn.Module, start: Start, folder: Path) -> None:
    import model_compression_toolkit as mct

    with tracing_exporter():
        mct.exporter.pytorch_export_model(
            model,
            save_model_path=str(folder / "network.onnx"),
            repr_dataset=_representative(start),
        )


def _steps(start: Start) -> dict[str, TimedTask]:
    model, _ = _prepared(start, start.target(4))
    return {"MCT, training": TimedTask(Classification(model, start.recipe(1)))}


TOOLS = (
    Tool(
        name="mct",
        label="MCT, after training",
        how="sensitivity, integer program",
        configured=f"{DOCUMENTATION}; `pytorch_post_training_quantization`.",
        better="minutes, with some hundred images and without labels; the target is a bound where "
        "no searched output has several readers.",
        packages=("model-compression-toolkit", "mct-quantizers"),
        compress=after_training,
    ),
    Tool(
        name="mct-training",
        label="MCT with its training",
        how="sensitivity, integer program",
        configured="the same bits; then `pytorch_quantization_aware_training_init_experimental`, "
        "the common training, but by Adam, because it folds batch norms and the common "
        "SGD diverges ([example](https://github.com/sony/model_optimization/blob/main/tutorials/"
        "notebooks/mct_features_notebooks/keras/example_keras_qat.ipynb)); and "
        "`..._finalize_experimental`.",
        better="as above, and the user's own loop trains.",
        packages=("model-compression-toolkit", "mct-quantizers"),
        compress=with_training,
        steps=_steps,
    ),
)
