"""The commands of `adlib`: their options, and what each prints; `adlib.cli` lists them."""
