"""What the world's tests share."""

from unit.one_thread import one_thread as one_thread
