"""The server of one model: takes one work order at a time and uploads its clip to presigned URLs."""
