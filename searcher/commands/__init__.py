"""The subcommands of `searcher`, one module each; its docstring is its help text."""
