"""The plain autoencoders of Gaussians beside the default one.

``python benchmarks/vae_configs.py [EPOCHS] [key=value ...]`` trains each config for so many epochs on its procedural
data, in a folder that is thrown away, and prints a table.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from contextlib import redirect_stdout
from pathlib import Path

from ignition.run import main as run

ROOT = Path(__file__).resolve().parents[1]
CONFIGS = (
    "conv1d_base",
    "conv1d_beta0.5",
    "conv1d_512d",
    "conv1d_512d_beta0.5",
    "conv1d_512d_beta0.1",
    "conv1d_512d_beta0",
    "resnet_conv1d_512d",
    "vae",
)
COLUMNS = ("xy", "scale", "rotation", "colour", "kl", "active_units", "std_ratio", "render_psnr", "ssim", "diversity")


def last_scores(folder: Path, prefix: str) -> dict[str, float]:
    """The last value of each metric of a run."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {name: row[f"{prefix}/{name}"] for row in rows for name in COLUMNS if f"{prefix}/{name}" in row}


def train(config: str, folder: Path, epochs: int, settings: list[str]) -> float:
    """Train a config; gives the minutes it took."""
    began = time.perf_counter()
    words = [
        str(ROOT / "recipes" / "vae.py"), "--config", str(ROOT / "configs" / f"{config}.yaml"), "--output", str(folder),
        f"trainer.epochs={epochs}", f"trainer.evaluate_every={epochs}", "logging.tensorboard=false",
        "logging.progress=false", "logging.pictures=0", *settings,
    ]  # fmt: skip
    with redirect_stdout(sys.stderr):  # its own table; the one that is asked for comes at the end
        ended = run(words)
    if ended != 0:
        sys.exit(f"{config} failed")
    return (time.perf_counter() - began) / 60


def row(name: str, scores: dict[str, float], minutes: str) -> str:
    cells = [f"{scores[column]:.3g}" if column in scores else "-" for column in COLUMNS]
    return "| " + " | ".join([name, *cells, minutes]) + " |"


def main(epochs: int, settings: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="vae-configs-") as place:
        lines = []
        for config in CONFIGS:
            folder = Path(place) / config
            minutes = train(config, folder, epochs, settings)
            lines.append(row(f"`{config}`", last_scores(folder, "val"), f"{minutes:.1f}"))
        trivial = row("mean predictor", last_scores(folder, "baseline"), "-")
    print("| " + " | ".join(["config", *COLUMNS, "minutes"]) + " |")
    print("|" + "---|" * (len(COLUMNS) + 2))
    print("\n".join([*lines, trivial]))


if __name__ == "__main__":
    number = [word for word in sys.argv[1:] if word.isdigit()]
    main(int(number[0]) if number else 20, [word for word in sys.argv[1:] if not word.isdigit()])
