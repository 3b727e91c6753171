"""A checkpoint to go on from, made of an exported network.

``python -m gaze_models.unfold --config configs/X.toml --data DIR --out runs/X_before``

The exporter folds batch normalisation into the convolutions. Here each gets its normalisation back, with the means
and variances of a few training batches, so that the network does what it did before and can be trained on with
``start_from = "R/checkpoint.pt"``.
"""

from __future__ import annotations

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from gaze_models.common import load_task, save_checkpoint, seed_everything, stage_arguments

BATCHES = 8


def layers_in_order(network: nn.Module, inputs: tuple[torch.Tensor, ...]) -> list[nn.Module]:
    """Return convolutions, linear layers and batch normalisations in the order in which they run."""
    found: list[nn.Module] = []
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    hooks = [
        m.register_forward_hook(lambda module, _, __: found.append(module))
        for m in network.modules()
        if isinstance(m, kinds)
    ]
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return found


def unfold(network: nn.Module, model: onnx.ModelProto, batches: list[tuple[torch.Tensor, ...]]) -> None:
    """Give `network` the weights of its export; batch normalisation by what `batches` make of its input."""
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    network.eval()
    layers = layers_in_order(network, batches[0])
    weighted = [m for m in layers if not isinstance(m, nn.BatchNorm2d)]
    if len(weighted) != len(nodes):
        raise ValueError(f"the file has {len(nodes)} layers, the network {len(weighted)}")
    norm_of = {id(a): b for a, b in zip(layers, layers[1:], strict=False) if isinstance(b, nn.BatchNorm2d)}
    with torch.no_grad():
        for layer, node in zip(weighted, nodes, strict=True):
            weight, bias = values[node.input[1]], values[node.input[2]]
            layer.weight.copy_(weight)
            norm = norm_of.get(id(layer))
            if norm is None:
                layer.bias.copy_(bias)
            else:
                norm.running_mean.zero_()
                norm.running_var.fill_(1.0)
                norm.weight.fill_((1 + norm.eps) ** 0.5)
                norm.bias.copy_(bias)
        sums: dict[int, list[torch.Tensor]] = {}

        def look(module: nn.Module, inputs: tuple[torch.Tensor, ...], _: torch.Tensor) -> None:
            x = inputs[0]
            sums.setdefault(id(module), []).append(torch.stack([x.mean((0, 2, 3)), (x * x).mean((0, 2, 3))]))

        norms = [m for m in layers if isinstance(m, nn.BatchNorm2d)]
        hooks = [norm.register_forward_hook(look) for norm in norms]
        for batch in batches:
            network(*batch)
        for hook in hooks:
            hook.remove()
        for norm in norms:
            mean, square = torch.stack(sums[id(norm)]).mean(0)
            variance = square - mean * mean
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.copy_(torch.sqrt(variance + norm.eps))
            norm.bias.add_(mean)


def main() -> None:
    """Write ``checkpoint.pt``."""
    arguments, config = stage_arguments(main.__doc__)
    torch.set_num_threads(1)
    seed_everything(config["seed"])
    config["train"]["workers"] = 0
    task = load_task(config, arguments.data)
    network = task.network()
    batches = [(batch[0],) for batch in task.batches(0, BATCHES, arguments.smoke)]
    name = task.contract.name
    before = onnx.load(arguments.models / "onnx" / f"{name}.onnx")
    unfold(network, before, batches)
    save_checkpoint(arguments.out / "checkpoint.pt", average=network.state_dict())
    print(f"{name}: {arguments.out / 'checkpoint.pt'}")


if __name__ == "__main__":
    main()
