"""What touches the machine: files that appear whole or not at all, devices, progress bars."""
