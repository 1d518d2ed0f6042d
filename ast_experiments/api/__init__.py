"""Selection and metering in a training loop of your own: plain PyTorch, text, tables, any task with a loss a sample.

Nothing here needs Hydra, Weights & Biases or timm.
"""
