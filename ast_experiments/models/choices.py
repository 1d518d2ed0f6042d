"""The networks by name: where each is built, `module:function`."""

from __future__ import annotations

MODELS = {
    "simple_cnn": "ast_experiments.models.simple_cnn:simple_cnn",
    "airnet": "ast_experiments.models.airnet:airnet",
    "resnet18_cifar": "ast_experiments.models.cifar_resnet:cifar_resnet",
    "resnet34_cifar": "ast_experiments.models.cifar_resnet:cifar_resnet",
    "resnet50_cifar": "ast_experiments.models.cifar_resnet:cifar_resnet",
    "timm": "ast_experiments.models.timm:timm_model",
}
