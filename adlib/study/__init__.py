"""What only the chapters use, and their tests. Nothing outside imports it."""
