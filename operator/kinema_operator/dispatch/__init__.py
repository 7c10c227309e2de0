"""What serving and generation share: servers as they are seen, the line of requests, the key for orders."""
