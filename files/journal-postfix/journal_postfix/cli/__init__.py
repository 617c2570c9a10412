"""The command line: one module per command, each with NAME, HELP, add_arguments and run."""
