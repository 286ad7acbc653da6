"""What infinitely wide networks learn from data: inference, training, eigenmodes, probabilities of labels."""
