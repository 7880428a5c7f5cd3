"""The book: its chapters, and what stages, executes and renders them."""
