"""Fine-tuning the encoder on this gateway's own pictures, at night, in a child process that alone loads torch.

    job directory (plan, pictures, labels, base weights) --child--> checkpoints --> weights --finish--> a new bundle

`plan`, `job`, `checkpoint`, `budget` and `runner` never import torch; `train` and `child` do.
"""
