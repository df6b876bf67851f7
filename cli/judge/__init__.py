"""Commands that judge: Action Units, recipes of pretraining, the bundled model, and what the stages cost."""
