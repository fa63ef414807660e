"""What operators touch: command line, embedded stack, Flower."""
