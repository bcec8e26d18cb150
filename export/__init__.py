"""From a trained network to the files a device runs: ONNX, quantised, compared with the original, and packed as a
bundle. Behind the `scalpscope-export` command. Modules are imported where they are used: writing a bundle needs no
torch.
"""
