"""The runs of `soak.py`: their settings, and image files to train on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

BASE = (
    "tracking=jsonl", "tracking.console=false", "tracking.report=false", "hardware=cpu", "hardware.threads=1",
    "energy=nominal", "checkpoint_every_s=0.1", "dataset.train_rows=320", "recipe.epochs=8",
)  # fmt: skip
FOLDER = (
    "dataset=folder", "dataset.size=16", "model=simple_cnn", "recipe=sgd",
    "recipe.batch_size=16", "recipe.warmup_epochs=0", "recipe.lr=0.01", "recipe.epochs=6",
)  # fmt: skip
CONFIGS: dict[str, tuple[str, ...]] = {
    "dense": ("method=dense",),
    "random": ("method=random",),
    "rs2": ("method=rs2", "method.rate=0.7"),
    "curriculum": ("method=curriculum",),
    "infobatch": ("method=infobatch",),
    "selective_backprop": ("method=selective_backprop", "method.fresh_every=2"),
    "selective_backprop_fresh": ("method=selective_backprop_fresh",),
    "orderdp": ("method=orderdp",),
    "loss_drop": ("method=loss_drop",),
    "seta": ("method=seta",),
    "kakurenbo": ("method=kakurenbo", "recipe.lr=0.01"),
    "rho_loss": ("method=rho_loss", "holdout=0.2", "method.rate=0.3", "method.irreducible_epochs=2"),
    "proxy": ("method=proxy", "method.rate=0.4", "method.proxy_every=2"),
    "ast": (),
    "ast, average and clipping": ("recipe.ema_decay=0.9", "recipe.clip_grad=1.0", "tracking.log_every=7"),
    "ast_fresh": ("method=ast_fresh",),
    "ast_masked": ("method=ast_masked",),
    "arrays in workers": ("hardware.data_on_device=false", "hardware.workers=1"),
    "image files in workers": (*FOLDER, "hardware.workers=2"),
    "image files, dense": (*FOLDER, "hardware.workers=0", "method=dense"),
    "W&B": ("tracking.wandb=offline",),
    "W&B, arrays in workers": ("tracking.wandb=offline", "hardware.data_on_device=false", "hardware.workers=2"),
}


def overrides(name: str, data: Path) -> list[str]:
    """Returns the overrides of a configuration."""
    own = list(CONFIGS[name])
    return [*(o for o in BASE if o.partition("=")[0] not in {o.partition("=")[0] for o in own}
              and not (own[:1] == ["dataset=folder"] and o.startswith("dataset."))),
            *own, *([f"dataset.root={data}"] if own[:1] == ["dataset=folder"] else [])]  # fmt: skip


def images(folder: Path) -> Path:
    """Writes a small data set of image files: 6 classes, 20 training and 4 validation images each."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 4)):
        for label in range(6):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.normal(40 + 30 * label, 20, (20, 24, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(place / f"{number}.png")
    return folder
