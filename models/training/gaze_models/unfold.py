"""A checkpoint to go on from, made of an exported network.

``python -m gaze_models.unfold --config configs/X.toml --data DIR --out runs/X_before``

The exporter folds batch normalisation into the convolutions. Here each gets its normalisation back, with the means
and variances of a few training batches, so that the network does what it did before and can be trained on with
``start_from = "R/checkpoint.pt"``. A layer that has become wider since does what it did; what it gained says nothing
yet.
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


def weights(model: onnx.ModelProto) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return weight (outputs first) and bias of the layers of a file, in order.

    A linear layer on more than one row a sample is written as a product and a sum.
    """
    values = {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer}
    found = []
    for node, following in zip(model.graph.node, [*model.graph.node[1:], None], strict=True):
        if node.op_type in ("Conv", "Gemm"):
            found.append((values[node.input[1]], values[node.input[2]]))
        elif node.op_type == "MatMul" and node.input[1] in values:
            if following is None or following.op_type != "Add":
                raise ValueError(f"{node.name}: a product without a sum behind it")
            bias = next(values[name] for name in following.input if name in values)
            found.append((values[node.input[1]].T, bias))
    return found


def fill(layer: nn.Module, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    """Put weights into a layer; outputs that the file lacks stay as they are, inputs that it lacks count nothing."""
    rows, columns = weight.shape[:2]
    layer.weight[:rows, columns:] = 0
    layer.weight[:rows, :columns] = weight
    if bias is not None:
        layer.bias[:rows] = bias


def unfold(network: nn.Module, model: onnx.ModelProto, batches: list[tuple[torch.Tensor, ...]]) -> None:
    """Give `network` the weights of its export; batch normalisation by what `batches` make of its input."""
    stored = weights(model)
    network.eval()
    layers = layers_in_order(network, batches[0])
    weighted = [m for m in layers if not isinstance(m, nn.BatchNorm2d)]
    if len(weighted) != len(stored):
        raise ValueError(f"the file has {len(stored)} layers, the network {len(weighted)}")
    norm_of = {id(a): b for a, b in zip(layers, layers[1:], strict=False) if isinstance(b, nn.BatchNorm2d)}
    with torch.no_grad():
        for layer, (weight, bias) in zip(weighted, stored, strict=True):
            norm = norm_of.get(id(layer))
            fill(layer, weight, bias if norm is None else None)
            if norm is not None:
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


def inputs_of(batch: dict[str, torch.Tensor] | tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Return what the network takes of a training batch: named inputs of eyes, else the first tensor."""
    if isinstance(batch, dict):
        return batch["patches"].flatten(0, 1)[:, None], batch["head"], batch["present"]
    return (batch[0],)


def main() -> None:
    """Write ``checkpoint.pt``."""
    arguments, config = stage_arguments(main.__doc__)
    torch.set_num_threads(1)
    seed_everything(config["seed"])
    config["train"]["workers"] = 0
    task = load_task(config, arguments.data)
    network = task.network()
    batches = [inputs_of(batch) for batch in task.batches(0, BATCHES, arguments.smoke)]
    name = task.contract.name
    before = onnx.load(arguments.models / "onnx" / f"{name}.onnx")
    unfold(network, before, batches)
    save_checkpoint(arguments.out / "checkpoint.pt", average=network.state_dict())
    print(f"{name}: {arguments.out / 'checkpoint.pt'}")


if __name__ == "__main__":
    main()
