"""PyTorch networks trained by Lightning: head first where there is something pre-trained, resumable after any epoch."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit_converters.errors import ConversionError, MissingRequirement
from edgekit_converters.files import versions
from edgekit_converters.quiet import quiet
from edgekit_converters.train import checkpoint
from edgekit_converters.train.calm import calm
from edgekit_converters.train.checkpoint import FOLDER, Progressed
from edgekit_converters.train.config import TrainConfig
from edgekit_converters.train.networks import DESCRIPTION, WEIGHTS
from edgekit_converters.train.stock import Stock
from edgekit_converters.train.trainer import Trained, Watch
from edgekit_runtime.atomic import replacing
from edgekit_runtime.plain import encode
from edgekit_runtime.specification import Specification

if TYPE_CHECKING:
    import torch

    Loss = Callable[[Any, Any], torch.Tensor]

DECIDES = "val_loss"


@dataclass(frozen=True)
class Job:
    """What is trained, on what, and how well it does.

    Attributes:
        network: Module with a part ``backbone``.
        description: Plain data that `networks.build` makes it from again.
        pretrained: Whether its backbone is to be frozen at first, its batch norms always.
        learnt: Training examples.
        chosen: Validation examples.
        loss: (what the network gives, targets) to one number.
        figures: The same, for the whole validation set, to further figures without the prefix ``val_``.
        specification: Pre- and post-processing.
    """

    network: Any
    description: Mapping[str, Any]
    pretrained: bool
    learnt: Stock
    chosen: Stock
    loss: Loss
    figures: Callable[[Any, Any], Mapping[str, float]]
    specification: Specification


def require_lightning() -> None:
    """Check that PyTorch and Lightning are installed.

    Raises:
        MissingRequirement: One is not.
    """
    for package in ("torch", "lightning", "safetensors"):
        if importlib.util.find_spec(package) is None:
            raise MissingRequirement(f"{package} is not installed", 'pip install "edgekit[train]"')


def seeded(seed: int) -> None:
    """Set PyTorch's source of randomness, before a network is built."""
    import torch

    torch.manual_seed(seed)


def fit(job: Job, config: TrainConfig, run: Path, watch: Watch) -> Trained:
    """Train, or go on with what an interrupted call left.

    Raises:
        TrainingError: The loss is not finite.
    """
    from safetensors.torch import load_file, save_file

    state = checkpoint.read(run)
    if not state.ended:
        state = _train(job, config, run, watch, state)
    network = job.network
    network.load_state_dict(load_file(run / FOLDER / state.best_file))
    network.cpu().eval()
    save_file(network.state_dict(), run / WEIGHTS)
    with replacing(run / DESCRIPTION) as out:
        out.write(json.dumps(job.description, indent=2).encode())
    model = run / "model.pt2"
    export_program(network, job.chosen.item(0, 0)[0], model)
    return Trained(
        model, encode(job.specification.to_data()), state.best, state.best_epoch, versions("torch", "lightning")
    )


def _train(job: Job, config: TrainConfig, run: Path, watch: Watch, state: Progressed) -> Progressed:
    from edgekit_converters.train.torch_loop import Listener, learning, loaders

    listener = Listener(job, config, run, watch, state)
    with calm():
        import lightning

        trainer = lightning.Trainer(
            max_epochs=listener.of, devices=config.devices, num_nodes=config.nodes, accelerator="auto",
            logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            num_sanity_val_steps=0, default_root_dir=run, callbacks=[listener.callback()],
        )  # fmt: skip
        start = str(run / FOLDER / state.file) if state.file else None
        trainer.fit(learning(job, config), *loaders(job, config), ckpt_path=start, weights_only=False)
    if not trainer.is_global_zero:
        raise SystemExit(0)  # one of several processes; the first one writes what came of it
    return listener.state


def export_program(network: Any, sample: Any, target: Path) -> None:
    """Write a network in evaluation mode as a ``.pt2`` file, with a free batch where the network allows it.

    Args:
        network: The module.
        sample: One input without batch axis.
        target: File to write.

    Raises:
        ConversionError: PyTorch cannot capture it.
    """
    import torch

    pair = torch.stack([torch.as_tensor(sample)] * 2)
    try:
        with quiet(), torch.no_grad():
            try:
                shapes = ({0: torch.export.Dim("batch", min=1)},)
                program = torch.export.export(network, (pair,), dynamic_shapes=shapes)
            except Exception:  # a network that fixes its batch inside
                program = torch.export.export(network, (pair[:1],))
            torch.export.save(program, str(target))
    except Exception as error:
        raise ConversionError(f"torch.export cannot capture the network ({str(error)[:160]})", "see --debug") from error


def ended(state: Progressed, *, over: bool) -> Progressed:
    """The state with whether training is over."""
    return replace(state, ended=over)
