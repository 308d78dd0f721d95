"""Search the embedded network's widths and depths: error after a short training, and latency.

    python -m training.search --pool POOL --out DIR [--trials 24] [--steps 400]

Each trial trains a candidate for a few hundred steps on small crops, all on the same batches, and
measures its ONNX file's latency at 384x512; those larger than the limits are not trained. The
study (Optuna's multi-objective TPE, Ozaki et al. 2020) goes on where it stopped.
"""

import argparse
import tempfile
import time
from pathlib import Path

import onnxruntime
import optuna
import torch
from torch.utils.flop_counter import FlopCounterMode

from diorama.models.nets.embedded import Embedded, EmbeddedConfig, build
from training.batches import BatchConfig, Batches
from training.depthwise import quicken
from training.losses import total
from training.train import learn, make_optimizer, schedule, validate

MAX_PARAMETERS = 6e6
MAX_FLOP = 8e9
"""At 384x512, a multiply-add counted as two."""

AREA = 96 * 128
"""Pixels of a crop."""

RATE = 3e-3
"""Largest learning rate."""

WIDTHS = {2: (8, 16, 24), 4: (24, 32, 48), 8: (48, 64, 96), 16: (96, 128, 160), 32: (160, 224, 288)}
"""Channels to choose from, for each level of the encoder by its stride."""

BLOCKS = {4: (1, 3), 8: (1, 3), 16: (2, 9), 32: (2, 9)}
"""The fewest and the most blocks of each."""

DECODERS = {"narrow": (16, 24, 32, 64), "middle": (16, 32, 48, 80), "wide": (24, 48, 64, 96)}
"""Channels of the decoder at strides 2, 4, 8 and 16."""


def main() -> None:
    """Search."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of the study")
    parser.add_argument("--trials", type=int, default=24, help="in all, earlier ones included")
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--validation", type=int, default=256, help="samples kept for it")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        storage=f"sqlite:///{args.out / 'study.db'}",
        study_name="embedded",
        directions=["minimize", "minimize"],
        sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=8),
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(params_of(EmbeddedConfig()))
    done = sum(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials)

    crops = BatchConfig(area=AREA, real=0.0, validation=args.validation)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        return try_config(trial, config_of(trial), args.pool, crops, args.steps)

    while done < args.trials:
        study.optimize(objective, n_trials=1)
        done = sum(t.state == optuna.trial.TrialState.COMPLETE for t in study.trials)
    (args.out / "study.md").write_text(table(study))
    print(table(study))


def config_of(trial: optuna.Trial) -> EmbeddedConfig:
    """A candidate: widths and depths of the encoder's levels, and how wide the decoder is."""
    widths = tuple(trial.suggest_categorical(f"width_{k}", w) for k, w in WIDTHS.items())
    depths = tuple(trial.suggest_int(f"blocks_{k}", *span) for k, span in BLOCKS.items())
    decoder = DECODERS[trial.suggest_categorical("decoder", list(DECODERS))]
    return EmbeddedConfig(widths, (0, *depths), trial.suggest_int("expand", 2, 4), decoder)


def params_of(config: EmbeddedConfig) -> dict[str, int | str]:
    """What `config_of` would have to be told to suggest this one."""
    decoder = next(name for name, widths in DECODERS.items() if widths == config.decoder)
    widths = {f"width_{k}": w for k, w in zip(WIDTHS, config.widths, strict=True)}
    depths = {f"blocks_{k}": d for k, d in zip(BLOCKS, config.depths[1:], strict=True)}
    return {**widths, **depths, "decoder": decoder, "expand": config.expand}


def try_config(
    trial: optuna.Trial, config: EmbeddedConfig, pool: Path, crops: BatchConfig, steps: int
) -> tuple[float, float]:
    """Error on samples never seen, and milliseconds at 384x512.

    Raises:
        optuna.TrialPruned: if the candidate is larger than the limits.
    """
    torch.manual_seed(0)
    net = build(config)
    photo = torch.zeros(1, 3, 384, 512)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(photo)
    parameters = sum(p.numel() for p in net.parameters())
    trial.set_user_attr("parameters", parameters)
    trial.set_user_attr("flop", counter.get_total_flops())
    if parameters > MAX_PARAMETERS or counter.get_total_flops() > MAX_FLOP:
        raise optuna.TrialPruned
    milliseconds = latency(net, photo)
    quicken(net)
    optimizer = make_optimizer(net, RATE)
    net.train()
    for step, batch in enumerate(Batches(pool, None, crops, seed=0, first=0, last=steps)):
        learn(net, total, optimizer, batch, RATE * schedule(step, steps))
    error = validate(net, pool, None, crops, torch.device("cpu"))["val_pool"]
    return error, milliseconds


def latency(net: Embedded, photo: torch.Tensor) -> float:
    """Least processor time of the network's ONNX file, in milliseconds, float32 on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        program = torch.onnx.export(net, (photo,), dynamo=True, verbose=False)
        assert program is not None
        program.save(str(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: photo.numpy()}
    times = []
    for _ in range(12):
        begin = time.thread_time()  # other work on the machine must not count
        session.run(None, feed)
        times.append(1000 * (time.thread_time() - begin))
    return min(times)


def table(study: optuna.Study) -> str:
    """Every candidate that was trained, the most exact first."""
    best = {trial.number for trial in study.best_trials}
    lines = [
        "| trial | widths | blocks | expand | decoder | M parameters | GFLOP | ms | error | |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    done = [t for t in study.trials if t.state == optuna.trial.TrialState.COMPLETE]
    for t in sorted(done, key=lambda t: t.values[0]):
        config = config_of(optuna.trial.FixedTrial(t.params))  # type: ignore[arg-type]
        lines.append(
            f"| {t.number} | {list(config.widths)} | {list(config.depths)} | {config.expand} "
            f"| {list(config.decoder)} | {t.user_attrs['parameters'] / 1e6:.2f} "
            f"| {t.user_attrs['flop'] / 1e9:.2f} | {t.values[1]:.1f} | {t.values[0]:.4f} "
            f"| {'best for its time' if t.number in best else ''} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
