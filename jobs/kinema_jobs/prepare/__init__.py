"""Preparing: from videos in a bucket to a dataset by digest that a training can take its clips from."""
