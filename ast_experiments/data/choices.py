"""The data sets by name: where each is loaded, `module:function`."""

from __future__ import annotations

DATASETS = {
    "digits": "ast_experiments.data.in_memory.load:load_digits",
    "cifar10": "ast_experiments.data.in_memory.load:load_cifar10",
    "cifar100": "ast_experiments.data.in_memory.load:load_cifar100",
    "imagenette": "ast_experiments.data.encoded.load:load_imagenette",
    "imagenet100": "ast_experiments.data.encoded.load:load_imagenet100",
    "imagenet1k": "ast_experiments.data.encoded.load:load_imagenet1k",
    "folder": "ast_experiments.data.encoded.load:load_folder",
}
