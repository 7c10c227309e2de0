"""Open weights as a pipeline: folders in the diffusers format (Wan 2.1 and 2.2), checked, loaded and sampled.

The network of kinema_model denoises. VAE, encoders and schedulers are those of diffusers and transformers,
which are imported only where a folder is opened: see docs/decisions/0022-open-weights.md.
"""
