"""A sampled judgement: layers and operations are cut to smaller ones that hold some elements of their tensors exactly."""
