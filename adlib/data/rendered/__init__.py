"""The renderer of the built-in set; its one entry is `builtin.load_builtin`."""
