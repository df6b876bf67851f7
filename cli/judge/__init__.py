"""Commands that judge: Action Units, pretraining recipes, the bundled model, and the cost of the stages."""
