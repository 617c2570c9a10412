"""What journal-postfix uses of python3-systemd, which has no types of its own."""
