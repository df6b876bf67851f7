"""Small networks on a CPU by LiteRT: written from weights, and run without PyTorch, whose import takes a second."""
