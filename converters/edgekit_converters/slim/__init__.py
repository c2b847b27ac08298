"""What changes a model before it is converted: pruning, distillation, quantization-aware training.

Functions on a network, examples of its input, and what is handed in: `fine_tune`, `score`, `measure`; never on data
sets. Unstructured sparsity is not here: no runtime that edgekit ships on gains from it (docs/guide/slimming.md).
"""
