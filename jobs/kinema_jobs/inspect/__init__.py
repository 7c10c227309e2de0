"""What is this file? Its provenance and its watermark, read in a limited process, since the file may be hostile."""
