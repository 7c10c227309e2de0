"""How a clip is made of a request: what it is given, what the model hears, rendering and the files that come out.

The server and the local command share it. Nothing is imported here: the process that reads hostile files
(kinema_jobs.clip.decoding) loads this package and must not load torch.
"""
