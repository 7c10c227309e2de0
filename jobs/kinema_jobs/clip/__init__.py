"""Making a clip from a request: inputs, prompt expansion, rendering and output files.

The server and the local command share this package. Nothing is imported here: the process that reads hostile files
(kinema_jobs.clip.decoding) loads this package and must not load torch.
"""
