"""The server of one model: takes one work order at a time and leaves its clip behind presigned addresses."""
