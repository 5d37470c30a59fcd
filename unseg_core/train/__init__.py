"""The bilevel training of the generator."""
