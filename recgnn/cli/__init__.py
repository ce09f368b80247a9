"""The command line: Lightning's parser, options, nearest names, one-line errors."""
