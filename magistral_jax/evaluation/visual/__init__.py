"""How answers to questions about images are read and compared, by the rules that were published."""
